"""Comparison with later papers that build on the paper's networks."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax.analysis import formats
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.sections.section import Column, Section, Table, footnotes, run_commands
from resjax.follow_up_papers import (
  AT_BEST_VALIDATION,
  LAST,
  LOSS_AT_EPOCH_10,
  NETWORK,
  ONE_RUN,
  RECIPE,
  RESULTS,
  WARMUP_RATE,
  PublishedResult,
)

_EPOCHS = 10  # after which the training loss is compared
_DATA = (
  *("label", "net", "paper", "place", "measure", "here", "runs"),
  *("published", "published_spread", "statistic", "published_runs", "reason"),
)
_WARMUP_DEPTH = 110  # of residual CIFAR networks, from which on train.warmup = 'auto' is a warm-up


def build(logs: Logs) -> Section | None:
  """Builds the section; None if only the paper itself has results for the networks here."""
  pairs = [(net, result) for net in logs.networks for result in RESULTS if _has_network(result, _settings(logs, net))]
  papers = {result.paper for _, result in pairs if _has_new_network(result)}
  rows = [_row(logs, net, result) for net, result in pairs if result.paper in papers]
  if not rows:
    return None
  marks, notes = footnotes([row["reason"].split("; ") if row["reason"] else [] for row in rows])
  columns = (
    *(Column("network", number=False), Column("paper", number=False), Column("measure", number=False)),
    *(Column("here", "mean over runs"), Column("runs"), Column("published", "notes: differences of the recipe")),
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
  published = f"{len(rows)} numbers of {', '.join(sorted(papers))}"
  return Section(
    key="follow_ups",
    title="Comparison with later papers",
    findings=(f"{comparable} of {published} were obtained with the recipe of the runs here.",),
    tables=(Table("Errors in percent, losses in nats.", columns, cells, notes),),
    data={"follow_up_comparison": frame},
    commands=run_commands(logs),
  )


def _settings(logs: Logs, net: Network) -> dict[str, Any]:
  """Returns the settings of the network's first run, by dotted key."""
  return logs.settings_of(logs.runs.loc[logs.runs["net"] == net.key, "id"].iloc[0])


def _has_network(result: PublishedResult, settings: Mapping[str, Any]) -> bool:
  """Returns whether a result is of the network with these settings; missing settings have their default."""
  return bool(settings) and all(
    settings.get(key, NETWORK[key]) == v for key, v in {**NETWORK, **result.network}.items()
  )


def _has_new_network(result: PublishedResult) -> bool:
  """Returns whether the network of a result differs from the paper's networks in more than depth."""
  return any(value != NETWORK[key] for key, value in result.network.items() if key != "model.depth")


def _row(logs: Logs, net: Network, result: PublishedResult) -> dict[str, Any]:
  settings = _settings(logs, net)
  reasons = [
    f"{key} {settings[key]} here, {value} in the paper"
    for key, value in {**RECIPE, **result.recipe}.items()
    if key in settings and settings[key] != value
  ]
  if warms_up(settings) or result.warmup_steps:
    reasons.append(_warmup_difference(settings, result.warmup_steps))
  here = _measured(logs, net, result.measure)
  return {
    **{"label": net.label, "net": net.key, "paper": result.paper, "place": result.place, "measure": result.measure},
    **{"here": here.mean(), "runs": int(here.count()), "published": result.value, "published_spread": result.spread},
    **{"statistic": result.statistic, "published_runs": result.runs},
    "reason": "; ".join(reasons),
  }


def warms_up(settings: Mapping[str, Any]) -> bool:
  """Returns whether a run has a warm-up, given its settings by dotted key."""
  deep = settings.get("model.depth", 0) >= _WARMUP_DEPTH
  auto = deep and settings.get("model.family") == "cifar" and settings.get("model.kind") == "residual"
  return settings.get("train.warmup") == "on" or (settings.get("train.warmup") == "auto" and auto)


def _warmup_difference(settings: Mapping[str, Any], steps: int) -> str:
  """Returns the difference between the warm-up of a run, which ends at an error, and that of a paper, of some steps."""
  here = there = "none"
  if warms_up(settings):
    rate, error = (settings[f"train.warmup_{key}"] for key in ("rate", "error"))
    here = f"at rate {rate:g} until the training error is below {error:g}"
  if steps:
    there = f"at rate {WARMUP_RATE:g} for {steps} steps"
  return f"warm-up {here} here, {there} in the paper"


def _measured(logs: Logs, net: Network, measure: str) -> pd.Series:
  """Returns a measure of `follow_up_papers` for each finished run of a network."""
  done = logs.finished(net)
  if measure == LAST:
    return done["test_error"]
  metrics = logs.metrics[logs.metrics["id"].isin(done["id"])]
  if measure == LOSS_AT_EPOCH_10:
    train = metrics[(metrics["split"] == "train") & (metrics["epoch"] <= _EPOCHS) & (metrics["epoch"] > _EPOCHS - 1)]
    return train.groupby("id")["loss"].mean()
  tested = metrics[metrics["split"].isin(("val", "test"))]
  errors = tested.pivot_table(index=["id", "step"], columns="split", values="error")
  if measure == AT_BEST_VALIDATION and {"val", "test"} <= set(errors.columns):
    return errors.loc[errors["val"].groupby("id").idxmin(), "test"]
  return pd.Series(dtype="float64")


def _published(row: Mapping[str, Any]) -> str:
  """Formats a published number, with its statistic if it is one of several runs."""
  if row["published"] is None:
    return "failed"
  number = _number(row["measure"], row["published"], row["published_spread"])
  return number if row["statistic"] == ONE_RUN else f"{number} ({row['statistic']} of {row['published_runs']})"


def _number(measure: str, value: float, spread: float | None = None) -> str:
  """Formats a loss with two decimals, and an error in percent."""
  return formats.number(value) if measure == LOSS_AT_EPOCH_10 else formats.percent(value, spread)
