"""What Fig. 6 and Fig. 7 draw, as frames: a curve a net, its seeds as mean, lowest and highest."""

import pandas as pd

from resjax.analysis.frames import Logs
from resjax.analysis.nets import nets

_NET = ["label", "kind", "depth", "shortcut", "net"]


def error_curves(logs: Logs) -> pd.DataFrame:
  """Error against step for each net and split (Fig. 6).

  A run that failed counts up to where it failed; `runs` says how many stand behind each point.

  Returns:
    Columns label, kind, depth, shortcut, net, split, step, mean, low, high (fractions), runs.
  """
  measured = logs.metrics.dropna(subset=["error"])
  grouped = measured.groupby(["net", "split", "step"], sort=True)["error"]
  return _with_labels(_seeds(grouped), logs, ["split", "step"])


def response_curves(logs: Logs, order: str) -> pd.DataFrame:
  """The standard deviation of each layer's response for each net (Fig. 7), in the last capture.

  Seeds that have not reached the last capture of their net are left out. With both captured, batch
  statistics are taken rather than running ones.

  Args:
    logs: the runs of one experiment.
    order: "original", by layer; or "sorted", each seed by size, the largest first.

  Returns:
    Columns label, kind, depth, shortcut, net, step, position (1-based: the layer, or the rank),
    layers (how many the net has), mean, low, high, runs; in original order also name, stage, block.
  """
  last = logs.responses.dropna(subset=["std"])
  last = last[last["step"] == last.groupby("net")["step"].transform("max")]
  last = last[last["mode"].fillna("") == last.groupby("net")["mode"].transform("min").fillna("")]
  if order == "original":
    last = last.assign(position=last["layer"])
  else:
    size = last.groupby("id")["std"].rank(ascending=False, method="first")
    last = last.assign(position=size.astype("Int64"))
  grouped = last.groupby(["net", "step", "position"], sort=True)
  curves = _seeds(grouped["std"])
  curves["layers"] = curves.groupby("net")["position"].transform("max")
  columns = ["step", "position", "layers"]
  if order == "original":
    where = grouped[["name", "stage", "block"]].first().reset_index(drop=True)
    curves = pd.concat([curves, where], axis="columns")
    columns += ["name", "stage", "block"]
  return _with_labels(curves, logs, columns)


def _seeds(grouped: "pd.api.typing.SeriesGroupBy") -> pd.DataFrame:
  return grouped.agg(mean="mean", low="min", high="max", runs="count").reset_index()


def _with_labels(curves: pd.DataFrame, logs: Logs, columns: list[str]) -> pd.DataFrame:
  order = [(n.label, n.kind, n.depth, n.shortcut, n.key) for n in nets(logs.runs)]
  labels = pd.DataFrame(order, columns=_NET).astype({"depth": "Int64"})
  joined = labels.merge(curves, on="net", how="inner")
  return joined[[*_NET, *columns, "mean", "low", "high", "runs"]]
