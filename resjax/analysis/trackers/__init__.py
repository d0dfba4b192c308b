"""Export of records to the experiment trackers MLflow, Weights & Biases and Trackio, one tracked run per run."""

import importlib

from resjax.analysis.logs import Logs
from resjax.analysis.trackers.tracked_run import tracked_runs


def export(logs: Logs, tracker: str) -> str:
  """Writes each ended run to a tracker, unless it has been exported before.

  Runs in progress are left for a later call, so that exported runs never change.

  Args:
    logs: Logs of the runs.
    tracker: "wandb", "trackio" or "mlflow"; the extra of that name must be installed.

  Returns:
    One line with the number of runs that were written, had been exported before, or have not ended, and the store.

  Raises:
    OSError: The tracker's store cannot be used.
    ModuleNotFoundError: The tracker's library is not installed.
  """
  runs = tracked_runs(logs)
  writer = importlib.import_module(f"{__name__}.to_{tracker}")
  written, where = writer.write(runs)
  counts = f"{written} runs written, {len(runs) - written} already exported"
  waiting = len(logs.runs) - len(runs)
  return f"{tracker}: {counts}{f', {waiting} not finished yet' if waiting else ''}; {where}"
