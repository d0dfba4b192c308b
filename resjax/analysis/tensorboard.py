"""The logs as TensorBoard event files, for `tensorboard --logdir`. Needs tensorboardX, and TensorFlow nowhere."""

import os
from pathlib import Path

from tensorboardX import SummaryWriter

from resjax.analysis.logs import Logs
from resjax.analysis.trackers.tracked_run import scalars


def write(logs: Logs, directory: str | os.PathLike[str]) -> list[Path]:
  """Writes one folder of scalars a run, in place of those of an earlier call.

  Tags are `<what>/<split>` of metrics, and `response/<layer>` and `gradient/<layer>` of captures; times are those at
  which the lines were written, as far as the log says.

  Returns:
    The folders.
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
