"""One run over several processes: their start, what they agree on, and how they stop at one step.

Every process does the same, on its share of the devices; the first one writes the records. All see one file system.
"""

import importlib.util
import os
import signal
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from resjax.settings import ConfigError

# Three variables for processes that nothing else has started; JAX itself reads the first only.
ADDRESS, COUNT, NUMBER = "JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)  # the last two: Slurm's and submitit's


def start() -> None:
  """Joins the other processes of the run, if the environment says that there are some; call it before other JAX.

  JAX knows Slurm, Open MPI, Kubernetes and Cloud TPU by itself; otherwise the three variables above say it.

  Raises:
    ConfigError: one of the variables is missing or no number.
  """
  if jax.distributed.is_initialized():
    return
  if ADDRESS in os.environ:
    count, number = (_number(name) for name in (COUNT, NUMBER))
    if number >= count:
      raise ConfigError(f"{NUMBER} = {number}: must be less than {COUNT} = {count}")
    jax.distributed.initialize(os.environ[ADDRESS], count, number)
  elif _among_others():
    jax.distributed.initialize()


def _among_others() -> bool:
  """Whether a batch system has started more than one process here, or this is a machine of a TPU slice."""
  counts = [os.environ.get(name, "1") for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")]
  hosts = [os.environ.get(name, "") for name in ("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES")]
  indexed = {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= set(os.environ)
  indexed = indexed and importlib.util.find_spec("kubernetes") is not None  # by which JAX asks for the others
  return any(count != "1" for count in counts) or any("," in names for names in hosts) or indexed


def _number(name: str) -> int:
  value = os.environ.get(name, "")
  if not value.isdecimal():
    raise ConfigError(f"{name} = {value!r}: must be a number, since {ADDRESS} is set")
  return int(value)


def is_first() -> bool:
  """Whether this process writes the records."""
  return jax.process_index() == 0


def broadcast_from_first(values: Any) -> np.ndarray:
  """Returns what the first process passed, an array of integers that has one shape in all of them."""
  mine = np.asarray(values, np.int32)
  return mine if jax.process_count() == 1 else np.asarray(multihost_utils.broadcast_one_to_all(mine))


class StopSignal:
  """Whether a signal asked to save and stop: the answer changes at one and the same call in all processes.

  A second signal ends a lone process at once.
  """

  def __init__(self) -> None:
    self._came, self._calls = False, 0
    alone = jax.process_count() == 1
    take: Callable[[int, Any], None] = self._take if alone else self._pass_on
    for number in SIGNALS if alone else SIGNALS[1:]:  # of several, JAX's own service hears SIGTERM and tells the others
      signal.signal(number, take)

  def __call__(self) -> bool:
    """Returns whether to stop; every process asks equally often."""
    if jax.process_count() > 1:
      self._calls += 1
      self._came = self._came or multihost_utils.reached_preemption_sync_point(self._calls)
    return self._came

  def _take(self, number: int, _: Any) -> None:
    self._came = True
    signal.signal(number, signal.SIG_DFL)

  def _pass_on(self, _: int, __: Any) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
