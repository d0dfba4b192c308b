"""Responses over training, and the mean response of each run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from resjax.analysis.curves import last_capture, layer_curves
from resjax.analysis.logs import Logs
from resjax.analysis.measurements import measured_responses

_MEANS = ["label", "net", "id", "kind", "depth", "seed", "step", "layers", "mean"]


def history(logs: Logs, reading: Mapping[str, Any] | None = None) -> pd.DataFrame:
  """Returns the response of each layer at every recorded step: mean, minimum and maximum over seeds.

  Returns:
    As `curves.response_curves` in original order, for all steps.
  """
  return layer_curves(measured_responses(logs, reading), "std", logs)


def evenly_spaced_steps(steps: list[int], count: int = 5) -> list[int]:
  """Selects `count` steps, evenly spaced by rank, including the first and the last."""
  ordered = sorted(set(steps))
  if len(ordered) <= count:
    return ordered
  return [ordered[round(rank)] for rank in np.linspace(0, len(ordered) - 1, count)]


def mean_responses(logs: Logs, reading: Mapping[str, Any] | None = None) -> pd.DataFrame:
  """Returns one row per run: the mean response over its layers at the last recorded step of its network.

  Returns:
    label, net, id, kind, depth, seed, step, layers, mean.
  """
  last = last_capture(measured_responses(logs, reading)).dropna(subset=["std"])
  keys = ["net", "id", "kind", "depth", "seed", "step"]
  means = last.groupby(keys, sort=False, dropna=False)["std"].agg(layers="count", mean="mean").reset_index()
  labels = logs.labels
  return means.assign(label=means["net"].map(labels))[_MEANS]
