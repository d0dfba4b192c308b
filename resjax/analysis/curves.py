"""Curves of Fig. 6 and Fig. 7 as data frames: one curve per network, with mean, minimum and maximum over seeds."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax.analysis.logs import Logs
from resjax.analysis.measurements import measured_responses
from resjax.analysis.study_lines import last_capture

NET_COLUMNS = ["label", "kind", "depth", "shortcut", "net"]


def error_curves(logs: Logs) -> pd.DataFrame:
  """Returns error against step for each network and split (Fig. 6).

  A failed run is included up to its last logged step.

  Returns:
    Columns label, kind, depth, shortcut, net, split, step, mean, low and high (minimum and maximum; fractions), runs
    (number of runs at that step).
  """
  measured = logs.metrics.dropna(subset=["error"])
  grouped = measured.groupby(["net", "split", "step"], sort=True)["error"]
  return add_labels(summarize_seeds(grouped), logs, ["split", "step"])


def response_curves(logs: Logs, order: str, measurement: Mapping[str, Any] | None = None) -> pd.DataFrame:
  """Returns the standard deviation of each layer's response for each network (Fig. 7), at the last recorded step.

  Seeds without a capture at that step are left out.

  Args:
    logs: Logs of one experiment.
    order: "original" by layer, or "sorted" by size, each seed separately and the largest first.
    measurement: How the responses were measured, an element of `measurements.measurements_of`. None: those
      recorded in training, with batch statistics if both kinds of statistics were recorded.

  Returns:
    Columns label, kind, depth, shortcut, net, step, position (1-based layer or rank), layers (number of layers of the
    network), mean, low and high (minimum and maximum over seeds), runs; in original order also name, stage, block.
  """
  return layer_curves(last_capture(measured_responses(logs, measurement)), "std", logs, order)


def layer_curves(lines: pd.DataFrame, value: str, logs: Logs, order: str = "original") -> pd.DataFrame:
  """Returns a quantity against the layer for each network and step.

  Args:
    lines: Lines of a log, one per layer and capture.
    value: Column of the quantity.
    logs: Logs of one experiment.
    order: "original" or "sorted", see `response_curves`.

  Returns:
    The columns of `response_curves`.
  """
  lines = lines.dropna(subset=[value])
  if order == "original":
    lines = lines.assign(position=lines["layer"])
  else:
    rank = lines.groupby(["id", "step"])[value].rank(ascending=False, method="first")
    lines = lines.assign(position=rank.astype("Int64"))
  grouped = lines.groupby(["net", "step", "position"], sort=True)
  curves = summarize_seeds(grouped[value])
  curves["layers"] = curves.groupby("net")["position"].transform("max")
  columns = ["step", "position", "layers"]
  if order == "original":
    layers = grouped[["name", "stage", "block"]].first().reset_index(drop=True)
    curves = pd.concat([curves, layers], axis="columns")
    columns += ["name", "stage", "block"]
  return add_labels(curves, logs, columns)


def summarize_seeds(grouped: "pd.api.typing.SeriesGroupBy") -> pd.DataFrame:
  """Returns mean, low and high (minimum and maximum), and runs (number of values) of each group."""
  return grouped.agg(mean="mean", low="min", high="max", runs="count").reset_index()


def add_labels(curves: pd.DataFrame, logs: Logs, columns: list[str]) -> pd.DataFrame:
  """Sorts curves by network and adds the columns that identify the network.

  Args:
    curves: Columns net, mean, low, high, runs, and `columns`.
    logs: Logs of one experiment.
    columns: Further columns to keep.

  Returns:
    Columns label, kind, depth, shortcut, net, `columns`, mean, low, high, runs.
  """
  order = [(n.label, n.kind, n.depth, n.shortcut, n.key) for n in logs.networks]
  labels = pd.DataFrame(order, columns=NET_COLUMNS).astype({"depth": "Int64"})
  joined = labels.merge(curves, on="net", how="inner")
  return joined[[*NET_COLUMNS, *columns, "mean", "low", "high", "runs"]]
