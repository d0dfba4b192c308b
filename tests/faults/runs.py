"""A short run on the digits, started as a user starts it, and what must be the same however it was disturbed."""

import os
import subprocess
import sys
from pathlib import Path

from resjax import records

SETTINGS = {
  "train.steps": 60,
  "checkpoint.every": 10,
  "execution.log_every": 5,
  "evaluation.every": 20,
  "responses.steps": "(0,30)",
}
TIMED = ("seconds", "images_per_second")


class Runs:
  """Starts runs; all share a store of compiled programs, so that a restart takes seconds."""

  def __init__(self, store: Path):
    """Uses `store` for compiled programs."""
    self._store = store

  def start(self, workdir: Path, only: str = "depth=8 kind=residual", member: int | None = None, port: int = 0):
    """Starts the command; with `member` as that one of two processes, which meet at `port`."""
    flags = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2", "JAX_COMPILATION_CACHE_DIR": str(self._store)}
    if member is not None:
      environment |= {
        "JAX_NUM_CPU_DEVICES": "1",
        "JAX_COMPILATION_CACHE_DIR": f"{self._store}{member}",
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(member),
      }
    command = [sys.executable, "-m", "resjax.main", "--config", "quickstart", "--only", only, "--workdir", str(workdir)]
    return subprocess.Popen(
      [*command, *flags], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

  def to_the_end(self, workdir: Path, only: str = "depth=8 kind=residual") -> tuple[int, str]:
    """Runs the command until it ends; returns its exit code and what it wrote to stderr."""
    return finish(self.start(workdir, only))


def finish(process: subprocess.Popen) -> tuple[int, str]:
  """Waits; returns exit code and stderr."""
  _, err = process.communicate(timeout=600)
  return process.returncode, err


def what_counts(workdir: Path) -> dict[str, tuple]:
  """Returns, by run, what must be equal to the bit: status, digest, result, and all lines without their times."""
  found = {}
  for directory in records.find_runs(workdir):
    run = records.read_run(directory)
    metrics = [{key: value for key, value in row.items() if key not in TIMED} for row in run.metrics]
    found[directory.name] = (run.run["status"], run.run["params_digest"], run.run["result"], metrics, run.responses)
  return found


def contents(workdir: Path) -> dict[str, bytes]:
  """Returns the files of the run directories, but for locks."""
  paths = [path for path in workdir.rglob("*") if path.is_file() and path.name != "lock"]
  return {str(path.relative_to(workdir)): path.read_bytes() for path in paths}


def is_clear(code: int, err: str) -> bool:
  """Whether a command ended as one does whose directory cannot be used: exit code 2 and one line."""
  lines = [line for line in err.splitlines() if line.startswith("python -m resjax.main: ")]
  return code == 2 and len(lines) == 1 and "Traceback" not in err
