"""A short run on the digits, started as a user starts it, and the part of its records that no fault may change."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

from resjax import records
from tests import short_run

SETTINGS = {
  key: short_run.SETTINGS[key]
  for key in ("train.steps", "checkpoint.every", "execution.log_every", "evaluation.every", "responses.steps")
}


class Runs:
  """Starts runs that share a cache of compiled programs, so that a restart takes seconds."""

  def __init__(self, cache: Path, devices_of_pair: int = 1):
    """Creates the object.

    Args:
      cache: Directory for compiled programs.
      devices_of_pair: Number of simulated devices of each of two processes that train one run.
    """
    self._cache, self._devices = cache, str(devices_of_pair)

  def start(
    self,
    workdir: Path,
    only: str = short_run.ONLY,
    process: int | None = None,
    port: int = 0,
    **changes: str,
  ) -> subprocess.Popen[str]:
    """Starts the command and returns its process.

    Args:
      workdir: Work directory.
      only: Filter of the runs, as for `--only`.
      process: Index of this process if two processes train one run, or None.
      port: Port of the coordinator of the two processes.
      **changes: Values of settings by key, with "__" in place of the dot.
    """
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2", "JAX_COMPILATION_CACHE_DIR": str(self._cache)}
    if process is not None:
      environment |= {
        "JAX_NUM_CPU_DEVICES": self._devices,
        "JAX_COMPILATION_CACHE_DIR": f"{self._cache}{process}",
        "JAX_COORDINATOR_ADDRESS": f"localhost:{port}",
        "JAX_NUM_PROCESSES": "2",
        "JAX_PROCESS_ID": str(process),
      }
    settings = SETTINGS | {key.replace("__", "."): value for key, value in changes.items()}
    return short_run.start_main("quickstart", workdir, settings, environment, only)

  def start_pair(self, workdir: Path, **changes: str) -> list[subprocess.Popen[str]]:
    """Starts two processes that train one run; `changes` are settings as in `start`."""
    with socket.socket() as free:
      free.bind(("localhost", 0))
      port = free.getsockname()[1]
    return [self.start(workdir, process=process, port=port, **changes) for process in (0, 1)]

  def run_to_completion(self, workdir: Path, only: str = short_run.ONLY, **changes: str) -> tuple[int, str]:
    """Runs the command until it exits; returns its exit code and what it wrote to stderr."""
    code, _, err = short_run.finish(self.start(workdir, only, **changes))
    return code, err


def reproducible_records(workdir: Path) -> dict[str, dict[str, Any]]:
  """Returns what no fault may change by a single bit, for each run below a work directory by its id.

  Events are not compared, because faults cause some, such as a checkpoint that is refused.
  """
  runs = {directory.name: records.read_run(directory) for directory in records.find_runs(workdir)}
  return {
    name: {key: value for key, value in short_run.reproducible_part(run).items() if key != "events"}
    for name, run in runs.items()
  }


def file_contents(workdir: Path) -> dict[str, bytes]:
  """Returns the contents of all files below a work directory except locks, by relative path."""
  paths = [path for path in workdir.rglob("*") if path.is_file() and path.name != "lock"]
  return {str(path.relative_to(workdir)): path.read_bytes() for path in paths}


def is_clear_error(code: int, err: str) -> bool:
  """Returns whether a command refused its work directory as promised: one line on stderr and exit code 2."""
  lines = [line for line in err.splitlines() if line.startswith("python -m resjax.main: ")]
  return code == 2 and len(lines) == 1 and "Traceback" not in err
