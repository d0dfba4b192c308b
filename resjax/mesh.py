"""Device mesh, shardings and initialization of JAX. A single device is a mesh of one, so there is one code path.

The batch is sharded over all devices. Kernels and their optimizer state are sharded over the axis `fsdp` and gathered
where they are used; with one device on that axis the train state is replicated.
"""

import contextlib
import importlib.util
import logging
import math
import os
import platform
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from resjax import files, host, processes
from resjax.config import Config
from resjax.settings import ConfigError

DATA, FSDP = AXES = ("data", "fsdp")

# Flags of XLA's GPU compiler, set unless XLA_FLAGS has them already. They add convolutions and loops to CUDA graphs.
# By default each of the 56 convolutions of a training step of ResNet-20 ends a graph and is launched by the host, which
# also waits for the device in each iteration of the loop over steps. With the flags, 100 steps are one graph.
GPU_FLAGS = {"xla_gpu_enable_command_buffer": "+CONVOLUTION,+WHILE"}


# Arithmetic of float32 convolutions by platform, and the values of jax_default_matmul_precision with which it is used.
# Other platforms, and higher precisions, do not round the factors.
_ROUNDED_FLOAT32 = {
  "gpu": ("TF32: factors rounded to 10 bits", (None, "default", "bfloat16", "high", "tensorfloat32")),
  "tpu": ("factors rounded to bfloat16, sums in float32", (None, "default", "bfloat16")),
}


def start_backend(workdir: Path | None) -> None:
  """Initializes JAX and the processes of a run; must be called before any other use of JAX.

  JAX's own environment variables take precedence.

  On a CPU there is one device per core, because XLA's fast convolutions use one core each. Compiled programs are cached
  below the work directory, in one folder per machine, because they may not run on other processors and two machines
  must not write the same files. Without a work directory, or in a bucket, they are not cached.

  With JAX's plugin for NVIDIA GPUs, XLA gets `GPU_FLAGS` and programs are not cached: cuDNN fails (status 5003) if the
  kernels of a convolution are first loaded during the capture of a CUDA graph. Compiling a program loads them earlier,
  when it selects the algorithms of its convolutions. This holds also with JAX_COMPILATION_CACHE_DIR, which the
  launchers set, but not with JAX_ENABLE_COMPILATION_CACHE.

  Args:
    workdir: Work directory, or None.

  Raises:
    ConfigError: The processes or JAX's backend cannot be started, or JAX is in 64-bit mode.
  """
  gpu = any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))
  if "JAX_NUM_CPU_DEVICES" not in os.environ:
    jax.config.update("jax_num_cpu_devices", host.cpu_cores())
  if gpu:
    given = os.environ.get("XLA_FLAGS", "")
    wanted = [f"--{name}={value}" for name, value in GPU_FLAGS.items() if f"--{name}" not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *wanted]).strip()
    if "JAX_ENABLE_COMPILATION_CACHE" not in os.environ:
      jax.config.update("jax_enable_compilation_cache", False)
  elif workdir and not files.in_bucket(workdir) and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    jax.config.update("jax_compilation_cache_dir", str(workdir.absolute() / ".compiled" / platform.node()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    # jaxlib cannot serialize programs with oneDNN's convolutions, and JAX warns of each one that it does not cache.
    warnings.filterwarnings("ignore", "Error writing persistent compilation cache entry .*bad_alloc")
  processes.start()
  _check_backend(gpu)


def _check_backend(gpu: bool) -> None:
  """Starts JAX's backend and checks it.

  Args:
    gpu: Whether JAX's plugin for GPUs is installed.

  Raises:
    ConfigError: The backend that JAX_PLATFORMS names cannot be started, or JAX is in 64-bit mode.
  """
  if jax.config.jax_enable_x64:
    raise ConfigError("JAX_ENABLE_X64 = 1: must be unset or 0; training uses 32 bits, with which random numbers differ")
  asked = os.environ.get("JAX_PLATFORMS", "")
  with _log_of_jax() as log:
    try:
      found = jax.default_backend()
    except (RuntimeError, AssertionError) as error:
      reason = " ".join((str(error) or "; ".join(log) or "no plugin for it is installed").split())[:300]
      raise ConfigError(
        f"JAX_PLATFORMS = {asked!r}: JAX cannot start this backend ({reason}); unset it to use the available "
        "backend, or install the device's driver and its extra (cuda13, tpu)"
      ) from None
  if gpu and found == "cpu" and not asked:
    reason = " ".join("; ".join(log).split())[:300]
    print(f"JAX's GPU plugin is installed but cannot be used, so this runs on the CPU: {reason}", file=sys.stderr)


@contextlib.contextmanager
def _log_of_jax() -> Iterator[list[str]]:
  """Yields a list that collects JAX's warnings about its backends, which JAX would print with tracebacks."""
  logger, heard = logging.getLogger("jax._src.xla_bridge"), []

  class Listener(logging.Handler):
    """Collects the messages of warnings and errors."""

    def emit(self, record: logging.LogRecord) -> None:
      if record.levelno >= logging.WARNING:
        heard.append(str(record.exc_info[1]) if record.exc_info else record.getMessage())

  listener, propagated = Listener(), logger.propagate
  logger.addHandler(listener)
  logger.propagate = False
  try:
    yield heard
  finally:
    logger.removeHandler(listener)
    logger.propagate = propagated


def deviations(config: Config, devices: Mesh) -> list[dict[str, str]]:
  """Returns the deviations of the devices' arithmetic from the paper's, as listed in run.json."""
  here, precisions = _ROUNDED_FLOAT32.get(devices.devices.flat[0].platform, ("", ()))
  if config.model.precision != "float32" or jax.config.jax_default_matmul_precision not in precisions:
    return []
  return [{"name": "float32 convolutions", "paper": "float32", "here": here}]


def make(config: Config) -> Mesh:
  """Returns the mesh of a run: `execution.devices` devices, or if that is 0 as many as divide all batch sizes.

  With several processes, the mesh has the same number of devices of each.

  Raises:
    ConfigError: There are fewer devices than requested, or a batch size, `execution.fsdp` or the number of processes
      does not fit their number.
  """
  wanted, split = config.execution.devices, config.execution.fsdp
  by_process = [jax.local_devices(process) for process in range(jax.process_count())]
  processes, there = len(by_process), len(by_process) * min(map(len, by_process))
  batches = config.batch_sizes
  if wanted > there:
    raise ConfigError(
      f"execution.devices = {wanted}: must be at most {there}, the number of devices ({jax.devices()[0].device_kind})"
    )
  if wanted % processes:
    raise ConfigError(f"execution.devices = {wanted}: must be a multiple of {processes}, the number of processes")
  for key, size in batches.items():
    if size % (wanted or processes):
      parts, of = (wanted, "execution.devices") if wanted else (processes, "the number of processes")
      raise ConfigError(
        f"{key} = {size}: cannot be split over {of} = {parts}; "
        f"nearest: {max(size // parts, 1) * parts} and {(size // parts + 1) * parts}"
      )
  common = math.gcd(*batches.values())
  fitting = [n for n in range(processes, there + 1, processes) if common % n == 0 and n % split == 0]
  if wanted % split or not (wanted or fitting):
    raise ConfigError(
      f"execution.fsdp = {split}: must divide the number of devices, {wanted or there}, and the batch sizes, of which "
      f"{common} is the greatest common divisor"
    )
  of_each = (wanted or fitting[-1]) // processes
  return from_devices([device for devices in by_process for device in devices[:of_each]], split)


def from_devices(devices: Sequence[jax.Device], split: int) -> Mesh:
  """Returns the mesh of the devices; each group of `split` devices shares one copy of the kernels."""
  return jax.make_mesh((len(devices) // split, split), AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of an array that is the same on every device."""
  return NamedSharding(mesh, PartitionSpec())


def gather(tree: Any) -> Any:
  """Returns arrays that each process can read: arrays sharded over processes are replicated."""
  if all(leaf.is_fully_addressable or leaf.is_fully_replicated for leaf in jax.tree.leaves(tree)):
    return tree
  return jax.jit(lambda tree: tree, out_shardings=replicated(jax.sharding.get_mesh()))(tree)


def batch_spec(axis: int = 0) -> PartitionSpec:
  """Returns the partition spec of an array whose batch is on the given axis."""
  return PartitionSpec(*[None] * axis, AXES)


def shard_batch(array: jax.Array) -> jax.Array:
  """Returns the array with its batch axis, the first, sharded over the devices; for use in `jax.set_mesh` and `jit`."""
  if jax.sharding.get_abstract_mesh().empty:
    return array
  return jax.lax.with_sharding_constraint(array, batch_spec())


def state_shardings(mesh: Mesh, tree: Any) -> Any:
  """Returns the sharding of each leaf of a train state or of a part of it.

  Kernels are sharded along their output channels, or else their input channels, if the axis `fsdp` divides them. All
  other leaves are replicated.

  Args:
    mesh: Device mesh.
    tree: Arrays or their shapes. Kernels are the leaves named "kernel"; they may have additional leading axes.
  """
  return jax.tree.map_with_path(lambda path, leaf: NamedSharding(mesh, _spec(path, leaf.shape, mesh.shape[FSDP])), tree)


def shard_state(tree: Any) -> Any:
  """Returns a train state with the shardings of `state_shardings`; for use inside `jax.set_mesh` and `jax.jit`."""
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.shape[FSDP] == 1:
    return tree
  specs = jax.tree.map_with_path(lambda path, leaf: _spec(path, leaf.shape, mesh.shape[FSDP]), tree)
  return jax.lax.with_sharding_constraint(tree, specs)


def _spec(path: Any, shape: tuple[int, ...], parts: int) -> PartitionSpec:
  if jax.tree_util.keystr(path, simple=True, separator="/").endswith("kernel") and parts > 1:
    for axis in (len(shape) - 1, len(shape) - 2):
      if shape[axis] % parts == 0:
        return PartitionSpec(*[None] * axis, FSDP)
  return PartitionSpec()
