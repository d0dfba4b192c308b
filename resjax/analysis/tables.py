"""The tables of the report as frames. Errors are fractions, as in the records."""

import math
from typing import Any

import pandas as pd

from resjax import paper, records
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.training_cost import training_macs

PAPER_DATA = "cifar10"
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
  """Returns the number of test images of runs of one network; nan for detectors, as 1 - mAP is no share of images."""
  images = runs["test_images"].min()
  return math.nan if pd.isna(images) or runs["id"].isin(logs.average_precision["id"]).any() else float(images)


def errors(logs: Logs) -> pd.DataFrame:
  """Returns one row per network: errors at the last step over its finished seeds, and the paper's number.

  Returns:
    label, kind, depth, shortcut, net, params, macs; runs, done (counts); test_error, train_error
    and val_error (means over the finished runs) with test_spread and train_spread (sample standard
    deviations, missing for a single run); sampling_error (of one run's test error, from
    test_images; missing for a detector); best_test_error, the lowest at any step of any seed, and
    best_step; paper_error, paper_spread, and paper_low, paper_high where only a band from other reproductions is known,
    with paper_source. The paper's numbers stand only beside its own nets on its own data.
  """
  rows = [_error_row(net, logs) for net in logs.networks]
  return pd.DataFrame(rows, columns=_ERRORS).astype({"depth": "Int64", "best_step": "Int64"})


def _error_row(net: Network, logs: Logs) -> dict[str, Any]:
  runs = logs.runs[logs.runs["net"] == net.key]
  done = runs[runs["status"] == records.DONE]
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
  """Returns the columns of published numbers, filled if the network has the parameter count of the paper's."""
  empty = dict.fromkeys(("paper_error", "paper_spread", "paper_low", "paper_high"), math.nan)
  ours = paper.CIFAR10_RESIDUAL.get(net.depth or 0)
  on_its_data = set(runs["data_name"].dropna()) == {PAPER_DATA}
  if ours is None or not on_its_data or not (runs["params"].dropna() == ours.params).all():
    return {**empty, "paper_source": None}
  if net.kind == "residual" and net.shortcut == "A":
    spread = math.nan if ours.spread is None else ours.spread
    numbers = {"paper_error": ours.error, "paper_spread": spread}
    return {**empty, **numbers, "paper_source": ours.source}
  if net.kind == "plain" and net.depth in paper.CIFAR10_PLAIN_REPRODUCTIONS:
    low, high = paper.CIFAR10_PLAIN_REPRODUCTIONS[net.depth]
    return {**empty, "paper_low": low, "paper_high": high, "paper_source": "other reproductions"}
  return {**empty, "paper_source": None}


def progress(logs: Logs) -> pd.DataFrame:
  """Returns one row per run: progress and latest logged errors, finished or not.

  Returns:
    label, id, seed, status, reason, step, steps, progress (fraction of the steps), train_error
    (the mean of its last interval), split and error (last test error, validation error where no
    test was run), torn, training_macs (multiply-adds of forward and backward passes so far; missing for a detector,
    whose frozen layers have no gradients), seconds (of training and of tests during it).
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
  """Returns the deviations from the paper: name, paper, here, nets ("all", or labels)."""
  every = logs.networks
  found = logs.deviations.copy()
  for column in ("paper", "here"):
    found[column] = found[column].map(str)
  rows = []
  for (name, theirs, here), group in found.groupby(["name", "paper", "here"], sort=False):
    concerned = set(group["net"])
    which = ", ".join(net.label for net in every if net.key in concerned)
    everywhere = len(concerned) == len(every)
    rows.append((name, theirs, here, "all" if everywhere else which))
  return pd.DataFrame(rows, columns=["name", "paper", "here", "nets"])


def events(logs: Logs) -> pd.DataFrame:
  """Returns events of runs, with failures and lost log lines: label, id, step, name, detail."""
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
  place = {run: position for position, run in enumerate(logs.runs["id"])}
  return frame.astype({"step": "Int64"}).sort_values(
    ["id", "step"],
    key=lambda s: s.map(place) if s.name == "id" else s,
    kind="stable",
    ignore_index=True,
  )


def merge_shared_events(table: pd.DataFrame, runs: int) -> pd.DataFrame:
  """Merges events that occurred in all of several runs into one row each, which come first."""
  what = ["step", "name", "detail"]
  everywhere = (runs > 1) & (table.groupby(what, dropna=False)["id"].transform("nunique") == runs)
  shared = table[everywhere].drop_duplicates(what).assign(id=f"all {runs} runs")
  return pd.concat([shared, table[~everywhere]], ignore_index=True)
