"""A run of a few seconds on the digits through the command line, which tests interrupt, continue and compare."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resjax import records

ONLY = "depth=8 kind=residual"  # selects this run in the experiment quickstart
SETTINGS = {
  "train.steps": "60",
  "train.learning_rate": "0.1",
  "checkpoint.every": "10",
  "execution.log_every": "5",
  "evaluation.every": "20",
  "responses.steps": "(0,30)",
  "gradients.steps": "(0,30)",
  "gradients.images": "128",
  "data.validation_images": "100",
  # No error improves by 1, so the learning rate drops at each evaluation after the first.
  "train.schedule": "plateau",
  "train.plateau_patience": "1",
  "train.plateau_gain": "1.0",
}


def start_main(
  config: str, workdir: Path | str, settings: Mapping[str, str], environment: Mapping[str, str], only: str = ""
) -> subprocess.Popen[str]:
  """Starts `python -m resjax.main`.

  Args:
    config: Name or path of the experiment.
    workdir: Work directory, or the address of a folder in a bucket.
    settings: Values of settings by dotted key.
    environment: All environment variables of the process.
    only: Filter of the runs, as for `--only`.
  """
  command = [sys.executable, "-m", "resjax.main", "--config", config, "--only", only, "--workdir", str(workdir)]
  command += [f"--config.{key}={value}" for key, value in settings.items()]
  return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def start(
  workdir: Path | str, environment: Mapping[str, str], only: str = ONLY, **changes: str
) -> subprocess.Popen[str]:
  """Starts the short run.

  Args:
    workdir: Work directory, or the address of a folder in a bucket.
    environment: All environment variables of the process.
    only: Filter of the runs, as for `--only`.
    **changes: Values of settings by key, with "__" in place of the dot.
  """
  settings = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
  return start_main("quickstart", workdir, settings, environment, only)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
  """Waits for a process and returns its exit code and what it wrote to stdout and stderr."""
  out, err = process.communicate(timeout=600)
  return process.returncode, out, err


def run_directory(workdir: Path | str) -> Path:
  """Returns the only run directory below a work directory."""
  (directory,) = records.find_runs(workdir)
  return directory


def without_times(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """Returns lines of metrics.jsonl without the keys that measure time."""
  return [{key: value for key, value in line.items() if key not in ("seconds", "images_per_second")} for line in lines]


def reproducible_part(run: records.Run) -> dict[str, Any]:
  """Returns what an interruption must not change by a single bit: all but times and the events of restoring."""
  return {
    "status": run.run["status"],
    "digest": run.run["params_digest"],
    "result": run.run["result"],
    "metrics": without_times(run.metrics),
    "responses": run.responses,
    "gradients": run.gradients,
    "events": [event for event in run.run["events"] if event["name"] != "restored"],
  }


def reproducible_records(workdir: Path | str) -> dict[str, Any]:
  """Returns the reproducible part of the only run below a work directory, whose logs must have no torn line."""
  run = records.read_run(run_directory(workdir))
  assert run.torn == 0
  return reproducible_part(run)
