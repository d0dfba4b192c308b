"""Compilation of a run's training step for a TPU slice that is not present."""

import dataclasses
import os
import re
import time

import jax
from jax.experimental import topologies

from resjax import data, listing, mesh
from resjax.config import Config
from resjax.planning.chips import Slice
from resjax.train import program

# For ResNet-20 on v5e:2x4, this effort takes a third of the compile time of full effort, and the program needs 13 %
# more memory.
QUICK = {"exec_time_optimization_effort": -1.0}
TOO_LARGE = re.compile(r"Used ([\d.]+)([KMG]) of")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclasses.dataclass(frozen=True)
class Program:
  """A compiled training step.

  Attributes:
    seconds: Compile time in seconds.
    memory: Memory on each device in bytes: arguments, results and temporary buffers.
    compiles: Whether the program could be compiled; if not, it needs more memory than the device has.
    collectives: Number of collectives of each kind; one inside a loop counts once.
  """

  seconds: float
  memory: int
  compiles: bool
  collectives: dict[str, int]


def prepare() -> None:
  """Configures JAX to use the CPU, and libtpu to compile without a TPU; must be called before any other use of JAX."""
  jax.config.update("jax_platforms", "cpu")
  os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_ACCELERATOR_TYPE": "v5litepod-8"}
  os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # several plans can run at the same time, because none uses a TPU


def compile_step(config: Config, slice_: Slice, devices: int, effort: str) -> Program:
  """Compiles the training step of a run for the first `devices` chips of a slice.

  Args:
    config: Settings of the run.
    slice_: TPU slice.
    devices: Number of chips to use.
    effort: Effort of the compiler: "full" as in a run, or "quick", see `QUICK`.
  """
  there = topologies.get_topology_desc(platform="tpu", topology_name=slice_.name).devices[:devices]
  images = data.describe(config.data)
  chips = mesh.from_devices(there, config.execution.fsdp)
  start = time.monotonic()
  try:
    lowered = program.lower(config, listing.net(config), chips, images.train_images)
    compiled = lowered.compile(QUICK if effort == "quick" else None)
  except jax.errors.JaxRuntimeError as error:
    if not (used := TOO_LARGE.search(str(error))):
      raise
    return Program(time.monotonic() - start, round(float(used[1]) * UNITS[used[2]]), False, {})
  seconds, memory = time.monotonic() - start, compiled.memory_analysis()
  taken = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
  taken += memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
  collectives = {each.kind: each.count for each in program.collectives(compiled)}
  return Program(seconds, taken, True, collectives)
