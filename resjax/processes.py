"""Runs on several processes: initialization, broadcast, and stopping all processes at the same step.

All processes execute the same program on their share of the devices and share a file system. The first process writes
the records.
"""

import importlib.util
import os
import signal
import urllib.request
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from resjax import host
from resjax.settings import ConfigError

# Environment variables for processes that are started without a batch system; JAX itself reads only the first.
ADDRESS, COUNT, NUMBER = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)  # Slurm and submitit send the last two


def start() -> None:
  """Initializes JAX's distributed runtime if the environment describes several processes.

  It must be called before any other use of JAX. JAX itself detects Slurm, Open MPI, Kubernetes and Cloud TPU; elsewhere
  the variables `ADDRESS`, `COUNT` and `NUMBER` describe the processes. Under Slurm and Open MPI, where JAX would give
  each process one GPU, a process uses its share of the GPUs of its host.

  Raises:
    ConfigError: One of the variables is missing or not a number, or the number is too large.
  """
  if jax.distributed.is_initialized():
    return
  if ADDRESS in os.environ:
    count, number = (_read_number(name) for name in (COUNT, NUMBER))
    if number >= count:
      raise ConfigError(f"{NUMBER} = {number}: must be less than {COUNT} = {count}")
    jax.distributed.initialize(os.environ[ADDRESS], count, number, local_device_ids=host.gpu_ordinals())
  elif _is_distributed():
    jax.distributed.initialize(local_device_ids=host.gpu_ordinals())


def _is_distributed() -> bool:
  """Returns whether a batch system started several processes, or this host is one of several of a TPU slice."""
  counts = [
    os.environ.get(name, "1") for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "MEGASCALE_NUM_SLICES")
  ]
  hosts = [os.environ.get(name, "") for name in ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES")]
  indexed = {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= set(os.environ)
  indexed = indexed and importlib.util.find_spec("kubernetes") is not None  # JAX needs it to find the other processes
  if any(count != "1" for count in counts) or any("," in names for names in hosts) or indexed:
    return True
  return not any(hosts) and "," in _compute_engine_hosts()


def _compute_engine_hosts() -> str:
  """Returns the hosts of this machine's TPU slice, separated by commas, as Compute Engine's metadata server has them.

  The variables of Cloud TPU are set on Kubernetes only. Without libtpu or TPU (for which JAX sets TPU_SKIP_MDS_QUERY)
  the server is not asked; "" if it does not answer.
  """
  if importlib.util.find_spec("libtpu") is None or "TPU_SKIP_MDS_QUERY" in os.environ:
    return ""
  server = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
  url = f"http://{server}/computeMetadata/v1/instance/attributes/worker-network-endpoints"
  direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches this server
  try:
    with direct.open(urllib.request.Request(url, headers={"Metadata-Flavor": "Google"}), timeout=5) as reply:
      return reply.read().decode()
  except OSError:  # not a machine of Compute Engine, or one without this attribute
    return ""


def _read_number(name: str) -> int:
  """Returns the value of an environment variable as an integer; raises ConfigError if it is none."""
  value = os.environ.get(name, "")
  if not value.isdecimal():
    raise ConfigError(f"{name} = {value!r}: must be a number; set it, or unset {ADDRESS}")
  return int(value)


def is_first() -> bool:
  """Returns whether this is the first process, which writes the records."""
  return jax.process_index() == 0


def broadcast_from_first(values: Any) -> np.ndarray:
  """Returns the values that the first process passed, in every process.

  Args:
    values: Integers that fit into int32, of the same shape in all processes.
  """
  mine = np.asarray(values, np.int32)
  return mine if jax.process_count() == 1 else np.asarray(multihost_utils.broadcast_one_to_all(mine))


class StopSignal:
  """Request to save a checkpoint and stop, made by a signal and observed by all processes at the same call.

  In a run of one process, a second signal ends the process immediately.
  """

  def __init__(self) -> None:
    self._stop_requested, self._calls = False, 0
    alone = jax.process_count() == 1
    take: Callable[[int, Any], None] = self._on_signal if alone else self._forward_as_sigterm
    for number in SIGNALS if alone else SIGNALS[1:]:  # with several, JAX's preemption service handles SIGTERM
      signal.signal(number, take)

  def __call__(self) -> bool:
    """Returns whether to stop; all processes must call this equally often."""
    if jax.process_count() > 1:
      self._calls += 1
      self._stop_requested = self._stop_requested or multihost_utils.reached_preemption_sync_point(self._calls)
    return self._stop_requested

  def _on_signal(self, number: int, _: Any) -> None:
    self._stop_requested = True
    signal.signal(number, signal.SIG_DFL)

  def _forward_as_sigterm(self, _: int, __: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
