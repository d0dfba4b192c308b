"""Export to Trackio: its local store, below TRACKIO_DIR."""

import contextlib
import io
import os
from collections.abc import Sequence

import trackio

from resjax.analysis.trackers.tracked_run import TrackedRun

_REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


def write(runs: Sequence[TrackedRun]) -> tuple[int, str]:
  """Writes the runs that are not there; one whose export was interrupted is written again.

  Returns:
    Number of runs written, and the store.

  Raises:
    OSError: The environment names a remote store.
  """
  for name in _REMOTE:
    if os.environ.get(name):
      raise OSError(f"{name} is set: the export is to the local store; unset {name}, and upload with trackio sync")
  with contextlib.redirect_stdout(io.StringIO()):  # it explains itself for each run
    written = sum(_write(run) for run in runs)
  return written, str(trackio.TRACKIO_DIR)


def _write(run: TrackedRun) -> bool:
  """Writes a run unless it is there; returns whether it did."""
  rows = list(run.rows())
  for there in _found(run):
    if trackio.SQLiteStorage.get_log_count(run.project, there.name, run_id=there.id) == len(rows):
      return False
    there.delete()
  trackio.init(
    run.project,
    name=run.name,
    config={**run.settings, "run": run.facts, "resjax_key": run.key},
    embed=False,
    auto_log_gpu=False,
    auto_log_cpu=False,
  )
  for step, values in rows:
    trackio.log(values, step=step)
  trackio.finish()
  return True


def _found(run: TrackedRun) -> list[trackio.api.Run]:
  """Returns the runs with the key of a run."""
  try:
    there = list(trackio.Api().runs(run.project))
  except ValueError:  # there is no such project
    return []
  return [each for each in there if (each.config or {}).get("resjax_key") == run.key]
