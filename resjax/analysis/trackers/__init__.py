"""Export of records to experiment trackers: MLflow, Weights & Biases, Trackio. A run on disk is a run there."""

import importlib

from resjax.analysis.logs import Logs
from resjax.analysis.trackers.tracked_run import tracked_runs


def export(logs: Logs, tracker: str) -> str:
  """Writes each ended run to a tracker, unless it is there already.

  A run that is still in progress is left for a later call, so that the run there never changes.

  Args:
    logs: Records of the runs.
    tracker: wandb, trackio or mlflow; the extra of that name must be installed.

  Returns:
    One line: how many runs were written, were there already or have not ended, and where they are.

  Raises:
    OSError: The tracker's store cannot be used.
    ModuleNotFoundError: The tracker's library is not installed.
  """
  runs = tracked_runs(logs)
  writer = importlib.import_module(f"{__name__}.to_{tracker}")
  written, where = writer.write(runs)
  counts = f"{written} runs written, {len(runs) - written} there already"
  waiting = len(logs.runs) - len(runs)
  return f"{tracker}: {counts}{f', {waiting} not ended yet' if waiting else ''}; {where}"
