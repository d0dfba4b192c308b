"""Layer responses over training, and the mean response of each run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from resjax.analysis.curves import layer_curves
from resjax.analysis.logs import Logs
from resjax.analysis.measurements import measured_responses
from resjax.analysis.study_lines import last_capture

_MEANS = ["label", "net", "id", "kind", "depth", "seed", "step", "layers", "mean"]


def history(logs: Logs, measurement: Mapping[str, Any] | None = None) -> pd.DataFrame:
  """Returns the response of each layer at every recorded step: mean, minimum and maximum over seeds.

  Args:
    logs: Logs of one experiment.
    measurement: How the responses were measured, see `curves.response_curves`.

  Returns:
    The columns of `curves.response_curves` in original order, for all steps.
  """
  return layer_curves(measured_responses(logs, measurement), "std", logs)


def evenly_spaced_steps(steps: list[int], count: int = 5) -> list[int]:
  """Selects at most `count` of the distinct steps, evenly spaced by rank, including the first and the last."""
  ordered = sorted(set(steps))
  if len(ordered) <= count:
    return ordered
  return [ordered[round(rank)] for rank in np.linspace(0, len(ordered) - 1, count)]


def mean_responses(logs: Logs, measurement: Mapping[str, Any] | None = None) -> pd.DataFrame:
  """Returns the mean response over the layers of each run, at the last recorded step of its network.

  Args:
    logs: Logs of one experiment.
    measurement: How the responses were measured, see `curves.response_curves`.

  Returns:
    Columns label, net, id, kind, depth, seed, step, layers (number of layers), mean.
  """
  last = last_capture(measured_responses(logs, measurement)).dropna(subset=["std"])
  keys = ["net", "id", "kind", "depth", "seed", "step"]
  means = last.groupby(keys, sort=False, dropna=False)["std"].agg(layers="count", mean="mean").reset_index()
  return means.assign(label=means["net"].map(logs.labels))[_MEANS]


def final_mean_responses(logs: Logs) -> pd.DataFrame:
  """Returns the rows of `mean_responses` that were recorded at the end of training."""
  means = mean_responses(logs)
  at_end = means["id"].map(logs.runs.set_index("id")["steps"]) == means["step"]
  return means[at_end.fillna(False)]
