"""Comparison with papers that build on the paper's networks: their numbers beside the ones here."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax import records
from resjax.analysis import formats
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.sections.section import Column, Section, Table, footnotes, run_commands
from resjax.follow_up_papers import (
  AT_BEST_VALIDATION,
  LAST,
  LOSS_AT_EPOCH_10,
  NETWORK,
  RECIPE,
  RESULTS,
  PublishedResult,
)

_EPOCHS = 10
_DATA = ("label", "net", "paper", "place", "measure", "here", "runs", "published", "published_spread", "reason")


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no network here is one that such a paper has and the paper itself has not."""
  found = [(net, result) for net in logs.networks for result in RESULTS if _is_of(result, _settings(logs, net))]
  new = {result.paper for _, result in found if _differs(result)}
  rows = [_row(logs, net, result) for net, result in found if result.paper in new]
  if not rows:
    return None
  marks, notes = footnotes([row["reason"].split("; ") if row["reason"] else [] for row in rows])
  columns = (
    *(Column("network", number=False), Column("paper", number=False), Column("measure", number=False)),
    *(Column("here", "mean over runs"), Column("runs"), Column("published", "notes: where the recipe differs")),
  )
  cells = [
    [
      *(row["label"], f"{row['paper']}, {row['place']}", row["measure"], _number(row["measure"], row["here"])),
      *(formats.count(row["runs"]), f"{_published(row)} {mark}".strip()),
    ]
    for row, mark in zip(rows, marks, strict=True)
  ]
  frame = pd.DataFrame(rows, columns=list(_DATA))
  comparable = sum(not row["reason"] for row in rows)
  words = f"{comparable} of {len(rows)} numbers of {', '.join(sorted(new))} belong to the recipe of the runs here."
  return Section(
    key="follow_ups",
    title="Comparison with later papers",
    findings=(words,),
    tables=(Table("Errors in percent, losses in nats.", columns, cells, notes),),
    data={"follow_up_comparison": frame},
    commands=run_commands(logs),
  )


def _settings(logs: Logs, net: Network) -> dict[str, Any]:
  """Returns the settings of the network's first run, by dotted key."""
  first = logs.runs.loc[logs.runs["net"] == net.key, "id"].iloc[0]
  own = logs.settings[logs.settings["id"] == first]
  return dict(zip(own["key"], own["value"], strict=True))


def _is_of(result: PublishedResult, settings: Mapping[str, Any]) -> bool:
  """Whether a result belongs to the network of these settings; settings of later versions have their default."""
  return bool(settings) and all(
    settings.get(key, NETWORK[key]) == v for key, v in {**NETWORK, **result.network}.items()
  )


def _differs(result: PublishedResult) -> bool:
  """Whether the network differs from the paper's own in more than its depth."""
  return any(value != NETWORK[key] for key, value in result.network.items() if key != "model.depth")


def _row(logs: Logs, net: Network, result: PublishedResult) -> dict[str, Any]:
  settings = _settings(logs, net)
  reasons = [
    f"{key} {settings[key]}, there {value}"
    for key, value in {**RECIPE, **result.recipe}.items()
    if key in settings and settings[key] != value
  ]
  here = _measured(logs, net, result.measure)
  return {
    **{"label": net.label, "net": net.key, "paper": result.paper, "place": result.place, "measure": result.measure},
    **{"here": here.mean(), "runs": int(here.count()), "published": result.value, "published_spread": result.spread},
    "reason": "; ".join(reasons),
  }


def _measured(logs: Logs, net: Network, measure: str) -> pd.Series:
  """Returns the measure of each finished run of a network."""
  done = logs.runs[(logs.runs["net"] == net.key) & (logs.runs["status"] == records.DONE)]
  if measure == LAST:
    return done["test_error"]
  own = logs.metrics[logs.metrics["id"].isin(done["id"])]
  if measure == LOSS_AT_EPOCH_10:
    train = own[(own["split"] == "train") & (own["epoch"] <= _EPOCHS) & (own["epoch"] > _EPOCHS - 1)]
    return train.groupby("id")["loss"].mean()
  errors = own[own["split"].isin(("val", "test"))].pivot_table(index=["id", "step"], columns="split", values="error")
  if measure == AT_BEST_VALIDATION and {"val", "test"} <= set(errors.columns):
    return errors.loc[errors["val"].groupby("id").idxmin(), "test"]
  return pd.Series(dtype="float64")


def _published(row: Mapping[str, Any]) -> str:
  if row["published"] is None:
    return "failed"
  return _number(row["measure"], row["published"], row["published_spread"])


def _number(measure: str, value: float, spread: float | None = None) -> str:
  """Formats a loss with two decimals, and an error in percent."""
  return formats.number(value) if measure == LOSS_AT_EPOCH_10 else formats.percent(value, spread)
