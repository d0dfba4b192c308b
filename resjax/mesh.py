"""Devices and the mesh they form. One device is a mesh of one, so that there is no second code path.

The batch is split over the axis `data`; the train state is the same on every device.
"""

import math
import os
import platform
from pathlib import Path

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from resjax.config import Config
from resjax.settings import ConfigError

DATA = "data"


def start_backend(workdir: Path | None) -> None:
  """Sets JAX up; call it before anything else of JAX. What JAX's own environment variables say is left alone.

  On a CPU there is one device a core: XLA's fast convolutions use one core each. Compiled programs are kept below the
  work directory, one folder a machine, for they may not run on another kind and must not be written by two; without a
  work directory they are not kept.
  """
  if "JAX_NUM_CPU_DEVICES" not in os.environ:
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
  if workdir and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update("jax_compilation_cache_dir", str(workdir.absolute() / ".compiled" / platform.node()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def make(config: Config) -> Mesh:
  """Returns the mesh of a run: `execution.devices` of those there are, or as many as its batches can be split over.

  Raises:
    ConfigError: there are fewer devices, or a batch cannot be split over them.
  """
  there, wanted = jax.device_count(), config.execution.devices
  batches = {
    "train.batch_size": config.train.batch_size,
    "evaluation.batch_size": config.evaluation.batch_size,
    "responses.batch_size": config.responses.batch_size,
  }
  if wanted > there:
    raise ConfigError(f"execution.devices = {wanted}: there are {there} ({jax.devices()[0].device_kind})")
  for key, size in batches.items():
    if wanted and size % wanted:
      raise ConfigError(
        f"{key} = {size}: cannot be split over execution.devices = {wanted}; "
        f"nearest: {max(size // wanted, 1) * wanted} and {(size // wanted + 1) * wanted}"
      )
  common = math.gcd(*batches.values())
  count = wanted or max(n for n in range(1, there + 1) if common % n == 0)
  return jax.make_mesh((count,), (DATA,), axis_types=(AxisType.Auto,), devices=jax.devices()[:count])


def replicated(mesh: Mesh) -> NamedSharding:
  """The same on every device."""
  return NamedSharding(mesh, PartitionSpec())


def split_batch(array: jax.Array) -> jax.Array:
  """Returns the array with its first axis, the batch, split over the devices; inside `jax.set_mesh` and `jax.jit`."""
  if jax.sharding.get_abstract_mesh().empty:
    return array
  return jax.lax.with_sharding_constraint(array, PartitionSpec(DATA))
