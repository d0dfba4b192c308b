"""Scaling with depth: power laws of errors, loss and responses, and the best depth for a training budget."""

import math
from typing import Any

import pandas as pd

from resjax import records
from resjax.analysis import power_law, response_history
from resjax.analysis.logs import Logs
from resjax.analysis.networks import key_without_depth
from resjax.analysis.tables import sampling_error
from resjax.analysis.training_cost import training_macs

END = 0.1  # of the steps, the last ones: the training loss is the mean over these
MIN_R_SQUARED = 0.9  # of the variance, from which on a power is called a law
MIN_STANDARD_ERRORS = 2  # standard errors of a difference, from which on a net takes the frontier over

MEASURES = {"test_error": "test error", "train_loss": "training loss", "response": "mean response"}
PREDICTORS = {"depth": "depth", "params": "parameters", "training_macs": "multiply-adds in training"}

_POINTS = [
  *("label", "net", "id", "kind", "depth", "seed", "params", "training_macs"),
  *("test_error", "train_loss", "response"),
]
_LAWS = [
  *("series", "kind", "measure", "against", "depths", "runs", "exponent", "low", "high", "coefficient", "r_squared"),
  "law",
]
_FRONTIER = [
  *("series", "kind", "label", "net", "depth", "from_macs", "to_macs", "error"),
  *("than_label", "difference", "sampling_error"),
]


def finished_runs(logs: Logs) -> pd.DataFrame:
  """Returns one row per finished run of a network with a known depth.

  Returns:
    label, net, id, kind, depth, seed, params, training_macs (missing for a net that was trained elsewhere), test_error
    (of the last step), train_loss (mean over the last tenth of the steps, nats, without weight decay), response (mean
    over the layers).
  """
  done = logs.runs[(logs.runs["status"] == records.DONE) & logs.runs["depth"].notna()]
  labels = logs.labels
  means = response_history.mean_responses(logs)
  ended = means["id"].map(logs.runs.set_index("id")["steps"]) == means["step"]
  responses = means[ended.fillna(False)].set_index("id")["mean"]
  frame = done.assign(
    label=done["net"].map(labels),
    training_macs=training_macs(logs, done, done["steps"]),
    train_loss=done["id"].map(_last_losses(logs)),
    response=done["id"].map(responses),
  )
  return frame[_POINTS].reset_index(drop=True)


def power_laws(measured: pd.DataFrame) -> pd.DataFrame:
  """Fits power laws in depth, parameters and multiply-adds to networks that differ only in depth.

  Returns:
    series, kind, measure and against (keys of `MEASURES` and `PREDICTORS`), depths and runs (counts), exponent, low,
    high, coefficient, r_squared (as of `power_law.fit`), law (the interval is clear of zero and the line explains
    `MIN_R_SQUARED`).
  """
  rows: list[dict[str, Any]] = []
  for series, runs in measured.groupby(measured["net"].map(key_without_depth), sort=False):
    for measure in MEASURES:
      for place in PREDICTORS:
        usable = runs[(runs[measure] > 0) & (runs[place] > 0)]
        fitted = power_law.fit(list(usable[place].astype("float64")), list(usable[measure]))
        if fitted is None:
          continue
        clear = fitted.low > 0 or fitted.high < 0
        rows.append(
          {"series": series, "kind": next(iter(runs["kind"])), "measure": measure, "against": place}
          | {"depths": usable["depth"].nunique(), "runs": len(usable), **vars(fitted)}
          | {"law": clear and fitted.r_squared >= MIN_R_SQUARED}
        )
  return pd.DataFrame(rows, columns=_LAWS)


def curves(logs: Logs) -> pd.DataFrame:
  """Returns test error against training cost, one curve per network, at steps that all its seeds reached.

  Returns:
    net, step, training_macs, mean, low, high (fractions), runs, images (of a test).
  """
  tested = logs.metrics[(logs.metrics["split"] == "test") & (logs.metrics["step"] > 0)].dropna(subset=["error"])
  tested = tested[tested["depth"].notna()]
  tested = tested.assign(training_macs=training_macs(logs, tested, tested["step"])).dropna(subset=["training_macs"])
  grouped = tested.groupby(["net", "step"], sort=True)
  frame = grouped["error"].agg(mean="mean", low="min", high="max", runs="count").reset_index()
  extra = grouped[["training_macs", "images"]].first().reset_index()
  frame = frame.merge(extra, on=["net", "step"])
  most = frame.groupby("net")["runs"].transform("max")
  return frame[frame["runs"] == most]


def frontier(logs: Logs) -> pd.DataFrame:
  """Finds the depth with the lowest test error for each training budget, from the learning curves.

  A net's error at a budget is that of its last test within it, after its end that of its end. Budgets begin where two
  depths of a series were tested within one; a depth that was not yet is no candidate. A depth takes over when it is
  better than the one before by `MIN_STANDARD_ERRORS` standard errors of the difference, as if they had been tested on
  different images; noise of training beyond that is not seen.

  Returns:
    A row for each stretch of budgets, shortest first, for nets that are alike but for depth: series, kind, label, net,
    depth (the best), from_macs, to_macs (of the budgets), error (at the stretch's end), than_label, difference and
    sampling_error (to the next best there: how much more it errs, and the standard error of that).
  """
  every = {net.key: net for net in logs.networks}
  measured = curves(logs)
  rows = []
  for series, part in measured.groupby(measured["net"].map(key_without_depth), sort=False):
    if len(part["net"].unique()) > 1:
      for stretch in _stretches(part):
        net = every[stretch["net"]]
        than = every[stretch.pop("than")]
        named = {"series": series, "kind": net.kind, "label": net.label, "depth": net.depth, "than_label": than.label}
        rows.append({**named, **stretch})
  return pd.DataFrame(rows, columns=_FRONTIER)


def _stretches(part: pd.DataFrame) -> list[dict[str, Any]]:
  own = {net: rows.sort_values("training_macs") for net, rows in part.groupby("net", sort=False)}
  first = sorted(rows["training_macs"].iloc[0] for rows in own.values())[1]
  budgets = sorted({budget for budget in part["training_macs"] if budget >= first})
  found: list[dict[str, Any]] = []
  for budget in budgets:
    tested = {net: rows[rows["training_macs"] <= budget] for net, rows in own.items()}
    within = {net: rows.iloc[-1] for net, rows in tested.items() if len(rows)}
    at = {net: (float(row["mean"]), float(row["images"])) for net, row in within.items()}
    best = min(at, key=lambda net: at[net][0])
    if found and not _apart(at[found[-1]["net"]], at[best]):
      best = found[-1]["net"]
    if not found or found[-1]["net"] != best:
      found.append({"net": best, "from_macs": budget})
    than = min((net for net in at if net != best), key=lambda net: at[net][0])
    said = {"difference": at[than][0] - at[best][0], "sampling_error": _error(at[than], at[best])}
    found[-1] |= {"to_macs": budget, "error": at[best][0], "than": than, **said}
  return found


def _apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
  return one[0] - other[0] > MIN_STANDARD_ERRORS * _error(one, other)


def _error(one: tuple[float, float], other: tuple[float, float]) -> float:
  """Returns the standard error of the difference of two errors, each (mean, images)."""
  return math.hypot(*(sampling_error(mean, images) for mean, images in (one, other)))


def _last_losses(logs: Logs) -> pd.Series:
  train = logs.metrics[logs.metrics["split"] == "train"].dropna(subset=["loss"])
  steps = train["id"].map(logs.runs.set_index("id")["steps"]).astype("float64")
  end = train[train["step"] > (1 - END) * steps]
  weight = end["images"].astype("float64").fillna(1)
  sums = (end["loss"] * weight).groupby(end["id"]).sum()
  return sums / weight.groupby(end["id"]).sum()
