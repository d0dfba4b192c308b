"""Shares of this machine: groups of cores, and of GPUs where there are any, one a process."""

import dataclasses
import os
import platform
import shutil
import subprocess
from pathlib import Path

from resjax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class Slot:
  """Where one process runs.

  Attributes:
    number: from 0 on.
    cores: that it may use.
    gpus: that it may use, by number or name; empty where there are none.
  """

  number: int
  cores: tuple[int, ...]
  gpus: tuple[str, ...]

  def __str__(self) -> str:
    on = f", GPU {','.join(self.gpus)}" if self.gpus else ""
    return f"slot {self.number} (core {','.join(map(str, self.cores))}{on})"

  def environment(self, workdir: str) -> dict[str, str]:
    """Returns what a process there is told by environment variables.

    Compiled programs are kept apart: one folder must not be written by two.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    store = Path(given) if given else Path(workdir).absolute() / ".compiled" / platform.node()
    told = {
      "JAX_COMPILATION_CACHE_DIR": f"{store}/slot{self.number}",
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    return told | ({"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {})

  def command(self, command: list[str]) -> list[str]:
    """Returns the command, held to the cores of the slot."""
    return ["taskset", "--cpu-list", ",".join(map(str, self.cores)), *command]


def make(jobs: int, gpus: list[str]) -> list[Slot]:
  """Returns `jobs` equal shares of the cores this process may use, and of the GPUs.

  Args:
    jobs: how many; 0: one a GPU, without GPUs one.
    gpus: of this machine.

  Raises:
    ConfigError: there are fewer cores or GPUs.
  """
  cores = sorted(os.sched_getaffinity(0))
  most, of = (len(gpus), "GPUs") if gpus else (len(cores), "cores")
  if len(cores) < most:
    most, of = len(cores), "cores"
  jobs = jobs or (most if gpus else 1)
  if not 1 <= jobs <= most:
    raise ConfigError(f"--jobs {jobs}: must be 1 to {most}, as many as there are {of}")
  return [Slot(i, tuple(_share(cores, i, jobs)), tuple(_share(gpus, i, jobs))) for i in range(jobs)]


def gpus() -> list[str]:
  """Returns the GPUs that this process may use: CUDA_VISIBLE_DEVICES, or else all that nvidia-smi lists."""
  if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
    return [name for name in visible.split(",") if name]
  if not shutil.which("nvidia-smi"):
    return []
  listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False)
  count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines()) if listed.returncode == 0 else 0
  return [str(i) for i in range(count)]


def _share(items: list, number: int, shares: int) -> list:
  return items[number * len(items) // shares : (number + 1) * len(items) // shares]
