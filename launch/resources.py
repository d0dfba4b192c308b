"""Cores and GPUs of this machine, divided into one slot per process."""

import dataclasses
import os
import platform
import shutil
import subprocess
from pathlib import Path

from resjax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class Slot:
  """Cores and GPUs of one process.

  Attributes:
    number: Index of the slot, from 0.
    cores: Indices of the CPU cores that the process may use.
    gpus: Indices or names of the GPUs that the process may use; empty on a machine without GPUs.
  """

  number: int
  cores: tuple[int, ...]
  gpus: tuple[str, ...]

  def __str__(self) -> str:
    on = f", GPU {','.join(self.gpus)}" if self.gpus else ""
    return f"slot {self.number} (core {','.join(map(str, self.cores))}{on})"

  def environment(self, workdir: str) -> dict[str, str]:
    """Returns the environment variables of a process in this slot.

    Each slot has a compilation cache of its own, because two processes must not write one cache directory.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    store = Path(given) if given else Path(workdir).absolute() / ".compiled" / platform.node()
    told = {
      "JAX_COMPILATION_CACHE_DIR": f"{store}/slot{self.number}",
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.3",
    }
    return told | ({"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {})

  def command(self, command: list[str]) -> list[str]:
    """Returns the command prefixed with `taskset`, which pins it to the cores of the slot."""
    return ["taskset", "--cpu-list", ",".join(map(str, self.cores)), *command]


def make(jobs: int, gpus: list[str]) -> list[Slot]:
  """Divides the cores that this process may use, and the GPUs, into `jobs` slots of equal size.

  Args:
    jobs: Number of slots; 0: one per GPU, or one without GPUs.
    gpus: Indices or names of the GPUs to divide.

  Raises:
    ConfigError: There are fewer cores or GPUs than slots.
  """
  if not hasattr(os, "sched_getaffinity"):
    raise ConfigError("launch.local needs Linux, where taskset pins each run to its cores; use resjax.main")
  cores = sorted(os.sched_getaffinity(0))
  most, of = (len(gpus), "GPUs") if gpus else (len(cores), "cores")
  if len(cores) < most:
    most, of = len(cores), "cores"
  jobs = jobs or (most if gpus else 1)
  if not 1 <= jobs <= most:
    raise ConfigError(f"--jobs {jobs}: must be between 1 and {most}, the number of {of}")
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
