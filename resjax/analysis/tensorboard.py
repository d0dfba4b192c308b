"""The logs as TensorBoard event files, for `tensorboard --logdir`. Needs tensorboardX, and TensorFlow nowhere."""

import os
from pathlib import Path

import pandas as pd
from tensorboardX import SummaryWriter

from resjax.analysis.logs import Logs

_METRICS = ("loss", "error", "learning_rate", "images_per_second")
_LAYERS = (("responses", "std", "response"), ("gradients", "norm", "gradient"))


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
    at = pd.to_datetime(run["started"], errors="coerce", utc=True)
    started = 0.0 if pd.isna(at) else at.timestamp()
    lines = logs.metrics[logs.metrics["id"] == run["id"]]
    times = started + lines["seconds"].where(lines["split"] == "train", 0.0).fillna(0.0).cumsum()
    for time, line in zip(times, lines.to_dict("records"), strict=True):
      for name in _METRICS:
        if not pd.isna(line[name]):
          writer.add_scalar(f"{name}/{line['split']}", line[name], line["step"], walltime=time)
    for log, column, tag in _LAYERS:
      captured = getattr(logs, log)
      for line in captured[captured["id"] == run["id"]].dropna(subset=[column]).to_dict("records"):
        writer.add_scalar(f"{tag}/{line['layer']:04d}", line[column], line["step"], walltime=started)
    writer.close()
    folders.append(folder)
  return folders
