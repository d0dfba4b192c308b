"""Curves of Fig. 6 and Fig. 7 as frames: one per network, with mean, minimum and maximum over seeds."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax.analysis.logs import Logs
from resjax.analysis.measurements import measured_responses

NET_COLUMNS = ["label", "kind", "depth", "shortcut", "net"]


def error_curves(logs: Logs) -> pd.DataFrame:
  """Returns error against step for each network and split (Fig. 6).

  A run that failed counts up to where it failed; `runs` says how many stand behind each point.

  Returns:
    Columns label, kind, depth, shortcut, net, split, step, mean, low, high (fractions), runs.
  """
  measured = logs.metrics.dropna(subset=["error"])
  grouped = measured.groupby(["net", "split", "step"], sort=True)["error"]
  return add_labels(summarize_seeds(grouped), logs, ["split", "step"])


def response_curves(logs: Logs, order: str, reading: Mapping[str, Any] | None = None) -> pd.DataFrame:
  """Returns the standard deviation of each layer's response for each network (Fig. 7), at the last recorded step.

  Seeds that have not reached the last capture of their net are left out.

  Args:
    logs: the runs of one experiment.
    order: "original", by layer; or "sorted", each seed by size, the largest first.
    reading: how responses are read, as in `measurements.distinct_measurements`; without it what was captured in
      training, batch statistics rather than running ones where both were.

  Returns:
    Columns label, kind, depth, shortcut, net, step, position (1-based: the layer, or the rank),
    layers (how many the net has), mean, low, high, runs; in original order also name, stage, block.
  """
  found = measured_responses(logs, reading)
  return layer_curves(last_capture(found), "std", logs, order)


def last_capture(captured: pd.DataFrame) -> pd.DataFrame:
  """Returns the lines of the last step of each network."""
  return captured[captured["step"] == captured.groupby("net")["step"].transform("max")]


def layer_curves(lines: pd.DataFrame, value: str, logs: Logs, order: str = "original") -> pd.DataFrame:
  """Returns curves over the layers for each network and step in `lines`, in the form of `response_curves`."""
  lines = lines.dropna(subset=[value])
  if order == "original":
    lines = lines.assign(position=lines["layer"])
  else:
    size = lines.groupby(["id", "step"])[value].rank(ascending=False, method="first")
    lines = lines.assign(position=size.astype("Int64"))
  grouped = lines.groupby(["net", "step", "position"], sort=True)
  curves = summarize_seeds(grouped[value])
  curves["layers"] = curves.groupby("net")["position"].transform("max")
  columns = ["step", "position", "layers"]
  if order == "original":
    where = grouped[["name", "stage", "block"]].first().reset_index(drop=True)
    curves = pd.concat([curves, where], axis="columns")
    columns += ["name", "stage", "block"]
  return add_labels(curves, logs, columns)


def summarize_seeds(grouped: "pd.api.typing.SeriesGroupBy") -> pd.DataFrame:
  """Returns mean, minimum and maximum of each group, and the number of runs."""
  return grouped.agg(mean="mean", low="min", high="max", runs="count").reset_index()


def add_labels(curves: pd.DataFrame, logs: Logs, columns: list[str]) -> pd.DataFrame:
  """Sorts curves in the order of the networks and prepends the columns that identify them."""
  order = [(n.label, n.kind, n.depth, n.shortcut, n.key) for n in logs.networks]
  labels = pd.DataFrame(order, columns=NET_COLUMNS).astype({"depth": "Int64"})
  joined = labels.merge(curves, on="net", how="inner")
  return joined[[*NET_COLUMNS, *columns, "mean", "low", "high", "runs"]]
