"""A run of some seconds on the digits through the command line, which tests stop, kill and compare."""

import subprocess
import sys
from pathlib import Path

from resjax import records

SHORT = {
  "train.steps": "60",
  "train.learning_rate": "0.1",
  "checkpoint.every": "10",
  "execution.log_every": "5",
  "evaluation.every": "20",
  "responses.steps": "(0,30)",
  "gradients.steps": "(0,30)",
  "gradients.images": "128",
  "data.validation_images": "100",
  "train.schedule": "plateau",  # no error is lower by 1: the rate drops at each evaluation after the first
  "train.plateau_patience": "1",
  "train.plateau_gain": "1.0",
}


def start(workdir, environment, only="depth=8 kind=residual", **changes):
  """Starts the short run; `changes` are settings, with "__" for the dot."""
  settings = SHORT | {key.replace("__", "."): value for key, value in changes.items()}
  chosen = ["--config", "quickstart", "--only", only, "--workdir", str(workdir)]
  flags = [f"--config.{key}={value}" for key, value in settings.items()]
  command = [sys.executable, "-m", "resjax.main", *chosen, *flags]
  return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
  """Returns the exit code, and what was printed on both streams."""
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def folder(workdir) -> Path:
  """Returns its run directory."""
  (found,) = records.find_runs(workdir)
  return found


def what_counts(workdir):
  """Returns what must be equal to the bit: the digest, the result and all lines without their times."""
  run = records.read_run(folder(workdir))
  assert run.torn == 0
  timed = ("seconds", "images_per_second")
  metrics = [{key: value for key, value in row.items() if key not in timed} for row in run.metrics]
  events = [event for event in run.run["events"] if event["name"] != "restored"]
  return {
    "status": run.run["status"],
    "digest": run.run["params_digest"],
    "result": run.run["result"],
    "metrics": metrics,
    "responses": run.responses,
    "gradients": run.gradients,
    "events": events,
  }
