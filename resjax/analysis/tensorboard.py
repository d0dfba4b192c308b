"""Export of logs as TensorBoard event files, for `tensorboard --logdir`. Needs tensorboardX, but not TensorFlow."""

import os
from pathlib import Path

from tensorboardX import SummaryWriter

from resjax.analysis.logs import Logs
from resjax.analysis.trackers.tracked_run import scalars


def write(logs: Logs, directory: str | os.PathLike[str]) -> list[Path]:
  """Writes a folder of scalars for each run and replaces the files of an earlier call.

  Tags are `<metric>/<split>`, `response/<layer>` and `gradient/<layer>`. The time of a scalar is that of its
  measurement, as far as the log contains it.

  Args:
    logs: Logs of the runs.
    directory: Directory for the folders, which are named as the run directories.

  Returns:
    The folders, one per run.
  """
  folders = []
  for run in logs.runs.to_dict("records"):
    folder = Path(directory) / str(run["directory"])
    for old in folder.glob("events.out.tfevents.*"):
      old.unlink()
    writer = SummaryWriter(str(folder), write_to_disk=True)
    for each in scalars(logs, run):
      writer.add_scalar(each.tag, each.value, each.step, walltime=each.time)
    writer.close()
    folders.append(folder)
  return folders
