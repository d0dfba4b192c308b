"""Export to Weights & Biases: offline runs below WANDB_DIR, which `wandb sync` uploads."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import wandb

from resjax.analysis.trackers.tracked_run import TrackedRun


def write(runs: Sequence[TrackedRun]) -> tuple[int, str]:
  """Writes the runs that have no offline run yet.

  Returns:
    Number of runs written, and the command that uploads them.
  """
  folder = Path(os.environ.get("WANDB_DIR") or ".") / "wandb"
  folder.mkdir(parents=True, exist_ok=True)
  missing = [run for run in runs if not list(folder.glob(f"offline-run-*-{run.key}"))]
  for run in missing:
    _write(run, folder)
  return len(missing), f"upload with wandb sync {folder}/offline-run-*"


def _write(run: TrackedRun, folder: Path) -> None:
  """Writes an offline run to a temporary folder and moves it to `folder` when it is complete."""
  with tempfile.TemporaryDirectory(dir=folder) as temporary:
    settings = wandb.Settings(
      console="off", silent=True, disable_git=True, x_disable_stats=True, x_disable_meta=True, x_save_requirements=False
    )
    offline = wandb.init(
      project=run.project,
      id=run.key,
      name=run.name,
      config={**run.settings, "run": run.facts},
      dir=temporary,
      mode="offline",
      settings=settings,
    )
    for step, values in run.rows():
      offline.log(values, step=step)
    offline.finish(exit_code=int(run.failed))
    (complete,) = Path(temporary).glob("wandb/offline-run-*")
    complete.rename(folder / complete.name)
