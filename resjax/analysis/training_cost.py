"""Multiply-adds spent in training: three times those of the forward pass, because the backward pass takes two."""

import pandas as pd

from resjax.analysis.logs import Logs
from resjax.depth import PASSES_PER_STEP


def training_macs(logs: Logs, lines: pd.DataFrame, steps: pd.Series) -> pd.Series:
  """Returns the multiply-adds spent in training up to a step.

  Args:
    logs: Logs of the runs.
    lines: Lines of a log or rows of runs, with the column id.
    steps: Step of each line.

  Returns:
    Multiply-adds of each line, float64; NaN if they are unknown or zero.
  """
  batch_sizes = pd.to_numeric(lines["id"].map(logs.setting("train.batch_size")), errors="coerce")
  forward = lines["id"].map(logs.runs.set_index("id")["macs"])
  macs = PASSES_PER_STEP * forward.astype("float64") * batch_sizes.astype("float64") * steps.astype("float64")
  return macs.where(macs > 0)
