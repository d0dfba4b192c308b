"""Export to the local store of Trackio, below TRACKIO_DIR."""

import contextlib
import io
import os
from collections.abc import Sequence

import trackio

from resjax.analysis.trackers.tracked_run import TrackedRun

_REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL")


def write(runs: Sequence[TrackedRun]) -> tuple[int, str]:
  """Writes the runs that are not in the store yet, and again those whose export was interrupted.

  Returns:
    Number of runs written, and the store.

  Raises:
    OSError: The environment names a remote store.
  """
  for name in _REMOTE:
    if os.environ.get(name):
      raise OSError(
        f"{name} is set, but resjax exports to the local store only: unset {name}, and upload with trackio sync"
      )
  with contextlib.redirect_stdout(io.StringIO()):  # Trackio prints instructions for each run
    written = sum(_write(run) for run in runs)
  return written, str(trackio.TRACKIO_DIR)


def _write(run: TrackedRun) -> bool:
  """Writes a run unless it is in the store already; returns whether it was written."""
  rows = list(run.rows())
  for existing in _existing(run):
    if trackio.SQLiteStorage.get_log_count(run.project, existing.name, run_id=existing.id) == len(rows):
      return False
    existing.delete()
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


def _existing(run: TrackedRun) -> list[trackio.api.Run]:
  """Returns the runs in the store that have the same key."""
  try:
    runs = list(trackio.Api().runs(run.project))
  except ValueError:  # the project does not exist
    return []
  return [each for each in runs if (each.config or {}).get("resjax_key") == run.key]
