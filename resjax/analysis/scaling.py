"""Scaling with depth: power laws of error, loss and response, and the best depth for a training budget."""

import math
from typing import Any

import pandas as pd

from resjax import records
from resjax.analysis import power_law, response_history
from resjax.analysis.logs import Logs
from resjax.analysis.networks import key_without_depth
from resjax.analysis.tables import sampling_error
from resjax.analysis.training_cost import training_macs

FINAL_FRACTION = 0.1  # of the steps, over which the final training loss is averaged
MIN_R_SQUARED = 0.9  # of a fit that is accepted as a power law
MIN_STANDARD_ERRORS = 2  # by which a network must be better to become the best one

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
  """Returns the final measurements of each finished run of a network with a known depth.

  Returns:
    One row per run with columns label, net, id, kind, depth, seed, params, training_macs (missing for a network that
    was trained elsewhere), test_error (at the last step), train_loss (mean over the last tenth of the steps, nats,
    without weight decay), response (mean over the layers).
  """
  done = logs.runs[(logs.runs["status"] == records.DONE) & logs.runs["depth"].notna()]
  responses = response_history.final_mean_responses(logs).set_index("id")["mean"]
  frame = done.assign(
    label=done["net"].map(logs.labels),
    training_macs=training_macs(logs, done, done["steps"]),
    train_loss=done["id"].map(_final_losses(logs)),
    response=done["id"].map(responses),
  )
  return frame[_POINTS].reset_index(drop=True)


def power_laws(measured: pd.DataFrame) -> pd.DataFrame:
  """Fits power laws in depth, parameters and multiply-adds to networks that differ only in depth.

  Args:
    measured: Result of `finished_runs`.

  Returns:
    One row per series, measure and predictor with columns series, kind, measure and against (keys of `MEASURES` and
    `PREDICTORS`), depths and runs (counts), exponent, low, high, coefficient and r_squared (see `power_law.fit`), law
    (whether the interval excludes zero and r_squared is at least `MIN_R_SQUARED`).
  """
  rows: list[dict[str, Any]] = []
  for series, runs in measured.groupby(measured["net"].map(key_without_depth), sort=False):
    for measure in MEASURES:
      for predictor in PREDICTORS:
        usable = runs[(runs[measure] > 0) & (runs[predictor] > 0)]
        fitted = power_law.fit(list(usable[predictor].astype("float64")), list(usable[measure]))
        if fitted is None:
          continue
        excludes_zero = fitted.low > 0 or fitted.high < 0
        rows.append(
          {"series": series, "kind": next(iter(runs["kind"])), "measure": measure, "against": predictor}
          | {"depths": usable["depth"].nunique(), "runs": len(usable), **vars(fitted)}
          | {"law": excludes_zero and fitted.r_squared >= MIN_R_SQUARED}
        )
  return pd.DataFrame(rows, columns=_LAWS)


def curves(logs: Logs) -> pd.DataFrame:
  """Returns test error against training cost for each network, at the steps that all its seeds have reached.

  Returns:
    Columns net, step, training_macs, mean, low and high (minimum and maximum over seeds; fractions), runs, images
    (number of test images).
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

  The error of a network at a budget is that of its last test within the budget. The smallest budget is the one at which
  two depths of a series have been tested; untested depths are not compared. A depth replaces the best one before it if
  it is better by `MIN_STANDARD_ERRORS` standard errors of the difference, as if both had been tested on different
  images. The variation between seeds is not included.

  Returns:
    One row per range of budgets and series of networks that differ only in depth, in the order of the budgets, with
    columns series, kind, label, net, depth (of the best network), from_macs and to_macs (range of the budgets), error
    (at the end of the range), than_label, difference and sampling_error (next best network there, its error minus the
    lowest, and the standard error of this difference).
  """
  networks = {net.key: net for net in logs.networks}
  measured = curves(logs)
  rows = []
  for series, part in measured.groupby(measured["net"].map(key_without_depth), sort=False):
    if len(part["net"].unique()) > 1:
      for budgets in _budget_ranges(part):
        net = networks[budgets["net"]]
        than = networks[budgets.pop("than")]
        labels = {"series": series, "kind": net.kind, "label": net.label, "depth": net.depth, "than_label": than.label}
        rows.append({**labels, **budgets})
  return pd.DataFrame(rows, columns=_FRONTIER)


def _budget_ranges(part: pd.DataFrame) -> list[dict[str, Any]]:
  """Returns the ranges of budgets with the same best network, see `frontier`."""
  by_net = {net: rows.sort_values("training_macs") for net, rows in part.groupby("net", sort=False)}
  first = sorted(rows["training_macs"].iloc[0] for rows in by_net.values())[1]
  budgets = sorted({budget for budget in part["training_macs"] if budget >= first})
  ranges: list[dict[str, Any]] = []
  for budget in budgets:
    tested = {net: rows[rows["training_macs"] <= budget] for net, rows in by_net.items()}
    within = {net: rows.iloc[-1] for net, rows in tested.items() if len(rows)}
    at = {net: (float(row["mean"]), float(row["images"])) for net, row in within.items()}
    best = min(at, key=lambda net: at[net][0])
    if ranges and not _significantly_better(at[best], at[ranges[-1]["net"]]):
      best = ranges[-1]["net"]
    if not ranges or ranges[-1]["net"] != best:
      ranges.append({"net": best, "from_macs": budget})
    than = min((net for net in at if net != best), key=lambda net: at[net][0])
    difference = {"difference": at[than][0] - at[best][0], "sampling_error": _standard_error(at[than], at[best])}
    ranges[-1] |= {"to_macs": budget, "error": at[best][0], "than": than, **difference}
  return ranges


def _significantly_better(one: tuple[float, float], other: tuple[float, float]) -> bool:
  """Returns whether the first of two errors, each (mean, images), is lower by `MIN_STANDARD_ERRORS`."""
  return other[0] - one[0] > MIN_STANDARD_ERRORS * _standard_error(one, other)


def _standard_error(one: tuple[float, float], other: tuple[float, float]) -> float:
  """Returns the standard error of the difference of two errors, each (mean, images)."""
  return math.hypot(*(sampling_error(mean, images) for mean, images in (one, other)))


def _final_losses(logs: Logs) -> pd.Series:
  train = logs.metrics[logs.metrics["split"] == "train"].dropna(subset=["loss"])
  steps = train["id"].map(logs.runs.set_index("id")["steps"]).astype("float64")
  end = train[train["step"] > (1 - FINAL_FRACTION) * steps]
  weight = end["images"].astype("float64").fillna(1)
  sums = (end["loss"] * weight).groupby(end["id"]).sum()
  return sums / weight.groupby(end["id"]).sum()
