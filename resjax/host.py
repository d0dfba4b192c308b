"""CPU cores and GPUs of this process. Slurm and Open MPI may start several processes on a host."""

import os
import re
from pathlib import Path

_GPUS_OF_HOST = Path("/proc/driver/nvidia/gpus")  # one entry per GPU, made by NVIDIA's driver


def cpu_cores() -> int:
  """Returns the number of CPU cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # not on macOS


def gpu_ordinals() -> list[int] | None:
  """Returns the ordinals of this process's GPUs among those that it sees; None where JAX's own choice is right.

  JAX takes the GPU whose ordinal is the number of the process on its host. This is wrong if a process has several GPUs,
  such as with `--gpus-per-task=4`, and if it sees only its own ones, whose ordinals begin at 0.
  """
  place = _place_on_host()
  visible = _visible_gpus()
  if place is None or not visible or "JAX_LOCAL_DEVICE_IDS" in os.environ:
    return None
  number, processes = place
  of_host = os.environ.get("SLURM_GPUS_ON_NODE", "")
  if of_host.isdecimal() and visible < int(of_host):  # Slurm has hidden the GPUs of other processes
    return list(range(visible))
  per_task = re.search(r"\d+$", os.environ.get("SLURM_GPUS_PER_TASK", ""))
  own = int(per_task[0]) if per_task else max(visible // processes, 1)
  if visible <= own or visible < processes:  # hidden, too
    return list(range(visible))
  return list(range(number * own, (number + 1) * own))


def _place_on_host() -> tuple[int, int] | None:
  """Returns the number of this process on its host and the number of processes there; None without batch system."""
  environment = os.environ
  if {"SLURM_LOCALID", "SLURM_STEP_TASKS_PER_NODE"} <= set(environment):
    # A list by node, such as "4(x2),1".
    parts = re.findall(r"(\d+)(?:\(x(\d+)\))?", environment["SLURM_STEP_TASKS_PER_NODE"])
    tasks = [int(count) for count, repeats in parts for _ in range(int(repeats or 1))]
    node = min(int(environment.get("SLURM_NODEID", 0)), len(tasks) - 1)
    return int(environment["SLURM_LOCALID"]), tasks[node]
  if {"OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"} <= set(environment):
    return int(environment["OMPI_COMM_WORLD_LOCAL_RANK"]), int(environment["OMPI_COMM_WORLD_LOCAL_SIZE"])
  return None


def _visible_gpus() -> int:
  """Returns the number of NVIDIA GPUs that this process sees."""
  named = os.environ.get("CUDA_VISIBLE_DEVICES")
  if named is None:
    return len(list(_GPUS_OF_HOST.glob("*")))
  return sum(name.strip() not in ("", "-1", "NoDevFiles") for name in named.split(","))
