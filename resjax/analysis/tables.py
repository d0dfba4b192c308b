"""Tables of the report as data frames. Errors are fractions, as in the records."""

import math
from typing import Any

import pandas as pd

from resjax import paper, records
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.training_cost import training_macs

PAPER_DATA = "cifar10"  # data set of the published errors
_ERRORS = [
  *("label", "kind", "depth", "shortcut", "net", "params", "macs", "runs", "done"),
  *("test_error", "test_spread", "sampling_error", "test_images", "train_error", "train_spread"),
  *("val_error", "best_test_error", "best_step"),
  *("paper_error", "paper_spread", "paper_low", "paper_high", "paper_source"),
]
_PROGRESS = [
  *("label", "id", "seed", "status", "reason", "step", "steps", "progress"),
  *("train_error", "split", "error", "torn", "training_macs", "seconds"),
]


def sampling_error(error: float, images: float) -> float:
  """Returns the sampling error of an error rate on `images` test images: sqrt(p (1 - p) / N), a fraction."""
  return math.sqrt(error * (1 - error) / images)


def classified_images(logs: Logs, runs: pd.DataFrame) -> float:
  """Returns the number of test images of one network's runs; NaN for detectors, whose error is 1 - mAP."""
  images = runs["test_images"].min()
  return math.nan if pd.isna(images) or runs["id"].isin(logs.average_precision["id"]).any() else float(images)


def errors(logs: Logs) -> pd.DataFrame:
  """Returns the errors of each network at the last step, over its finished runs, and the published error.

  Returns:
    One row per network with columns label, kind, depth, shortcut, net, params, macs; runs and done (counts);
    test_error, train_error and val_error (means over the finished runs), test_spread and train_spread (sample standard
    deviations over seeds, missing for a single run); sampling_error (of one run's test error on test_images images,
    missing for a detector); best_test_error (lowest at any step of any seed) and best_step; paper_error, paper_spread,
    paper_low and paper_high (a range, if only other reproductions have published errors), paper_source. Published
    errors are missing for networks and data sets that are not the paper's.
  """
  rows = [_error_row(net, logs) for net in logs.networks]
  return pd.DataFrame(rows, columns=_ERRORS).astype({"depth": "Int64", "best_step": "Int64"})


def _error_row(net: Network, logs: Logs) -> dict[str, Any]:
  runs = logs.runs[logs.runs["net"] == net.key]
  done = logs.finished(net)
  classified = classified_images(logs, done)
  val = logs.metrics[logs.metrics["id"].isin(done["id"]) & (logs.metrics["split"] == "val")]
  test, images = done["test_error"].mean(), done["test_images"].min()
  best = done.nsmallest(1, "best_test_error")
  return {
    **{"label": net.label, "kind": net.kind, "depth": net.depth, "shortcut": net.shortcut},
    **{"net": net.key, "params": runs["params"].max(), "macs": runs["macs"].max()},
    **{"runs": len(runs), "done": len(done)},
    **{"test_error": test, "test_spread": done["test_error"].std()},
    "sampling_error": math.nan if pd.isna(classified) else sampling_error(test, classified),
    "test_images": images,
    **{"train_error": done["train_error"].mean(), "train_spread": done["train_error"].std()},
    "val_error": val.groupby("id")["error"].last().mean(),
    "best_test_error": best["best_test_error"].min(),
    "best_step": best["best_step"].min(),
    **paper_columns(net, runs),
  }


def paper_columns(net: Network, runs: pd.DataFrame) -> dict[str, Any]:
  """Returns the columns of published errors, which are missing unless network and data set are the paper's.

  Args:
    net: The network.
    runs: Rows of its runs in `Logs.runs`.

  Returns:
    paper_error, paper_spread, paper_low, paper_high, paper_source by name.
  """
  empty = dict.fromkeys(("paper_error", "paper_spread", "paper_low", "paper_high"), math.nan)
  published = paper.CIFAR10_RESIDUAL.get(net.depth or 0)
  same_data = set(runs["data_name"].dropna()) == {PAPER_DATA}
  if published is None or not same_data or not (runs["params"].dropna() == published.params).all():
    return {**empty, "paper_source": None}
  if net.kind == "residual" and net.shortcut == "A":
    spread = math.nan if published.spread is None else published.spread
    return {**empty, "paper_error": published.error, "paper_spread": spread, "paper_source": published.source}
  if net.kind == "plain" and net.depth in paper.CIFAR10_PLAIN_REPRODUCTIONS:
    low, high = paper.CIFAR10_PLAIN_REPRODUCTIONS[net.depth]
    return {**empty, "paper_low": low, "paper_high": high, "paper_source": "other reproductions"}
  return {**empty, "paper_source": None}


def progress(logs: Logs) -> pd.DataFrame:
  """Returns the progress and the latest logged errors of each run, finished or not.

  Returns:
    One row per run with columns label, id, seed, status, reason, step, steps, progress (fraction of the steps),
    train_error (mean over the last logged interval), split and error (last test error, or validation error if no run
    was tested), torn (number of unreadable log lines), training_macs (multiply-adds of forward and backward passes so
    far; missing for a detector, whose frozen layers have no gradients), seconds (of training and of evaluations during
    it).
  """
  labels = logs.labels
  runs = logs.runs[["net", "id", "seed", "status", "reason", "step", "steps", "torn"]].copy()
  logged = runs["id"].map(logs.metrics.groupby("id")["step"].max()).astype("Int64")
  # run.json is written less often than the log.
  runs["step"] = pd.concat([runs["step"], logged], axis="columns").max(axis="columns")
  runs["progress"] = (runs["step"] / runs["steps"]).astype("float64")
  measured = logs.metrics.dropna(subset=["error"])
  last = {split: part.groupby("id")["error"].last() for split, part in measured.groupby("split")}
  evaluated = "test" if "test" in last else "val"
  none = pd.Series(dtype="float64")
  runs["train_error"] = runs["id"].map(last.get("train", none))
  runs["split"] = evaluated
  runs["error"] = runs["id"].map(last.get(evaluated, none))
  runs["label"] = runs["net"].map(labels)
  runs["training_macs"] = training_macs(logs, runs, runs["step"]).mask(runs["id"].isin(logs.average_precision["id"]))
  runs["seconds"] = runs["id"].map(logs.metrics.groupby("id")["seconds"].sum())
  return runs[_PROGRESS]


def deviations(logs: Logs) -> pd.DataFrame:
  """Returns the distinct deviations from the paper: name, paper, here, nets ("all", or labels)."""
  frame = logs.deviations.copy()
  for column in ("paper", "here"):
    frame[column] = frame[column].map(str)
  rows = []
  for (name, published, here), group in frame.groupby(["name", "paper", "here"], sort=False):
    keys = set(group["net"])
    labels = ", ".join(net.label for net in logs.networks if net.key in keys)
    rows.append((name, published, here, "all" if len(keys) == len(logs.networks) else labels))
  return pd.DataFrame(rows, columns=["name", "paper", "here", "nets"])


def events(logs: Logs) -> pd.DataFrame:
  """Returns the events of all runs, including failures and unreadable log lines: label, id, step, name, detail."""
  labels = logs.labels
  rows = [
    (labels[row["net"]], row["id"], row["step"], row["name"], row["detail"]) for row in logs.events.to_dict("records")
  ]
  for row in logs.runs.to_dict("records"):
    if row["status"] == records.FAILED:
      rows.append((labels[row["net"]], row["id"], row["step"], "failed", row["reason"]))
    if row["torn"]:
      lost = f"{row['torn']} torn or unreadable log line(s) skipped"
      rows.append((labels[row["net"]], row["id"], row["step"], "log incomplete", lost))
  frame = pd.DataFrame(rows, columns=["label", "id", "step", "name", "detail"])
  order = {run: position for position, run in enumerate(logs.runs["id"])}
  return frame.astype({"step": "Int64"}).sort_values(
    ["id", "step"],
    key=lambda s: s.map(order) if s.name == "id" else s,
    kind="stable",
    ignore_index=True,
  )


def merge_shared_events(table: pd.DataFrame, runs: int) -> pd.DataFrame:
  """Merges each event that all runs have in common into one row.

  Args:
    table: Result of `events`.
    runs: Number of runs.

  Returns:
    The merged events, followed by the others; unchanged for a single run.
  """
  key = ["step", "name", "detail"]
  everywhere = (runs > 1) & (table.groupby(key, dropna=False)["id"].transform("nunique") == runs)
  shared = table[everywhere].drop_duplicates(key).assign(id=f"all {runs} runs")
  return pd.concat([shared, table[~everywhere]], ignore_index=True)
