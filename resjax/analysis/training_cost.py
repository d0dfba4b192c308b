"""Multiply-adds spent in training: three times those of the forward passes, because a backward pass takes two."""

import pandas as pd

from resjax.analysis.logs import Logs
from resjax.depth import PASSES_PER_STEP


def training_macs(logs: Logs, lines: pd.DataFrame, steps: pd.Series) -> pd.Series:
  """Returns the multiply-adds that training has cost by `steps`, for each line by its id; NaN if zero."""
  sizes = logs.settings[logs.settings["key"] == "train.batch_size"].set_index("id")["value"]
  batches = pd.to_numeric(lines["id"].map(sizes), errors="coerce")
  of_net = lines["id"].map(logs.runs.set_index("id")["macs"])
  spent = PASSES_PER_STEP * of_net.astype("float64") * batches.astype("float64") * steps.astype("float64")
  return spent.where(spent > 0)
