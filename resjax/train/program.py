"""The training program of a run without training: tracing, lowering for a mesh, and analysis after compilation.

Nothing is allocated, and the devices of the mesh need not exist.
"""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from resjax import mesh, models
from resjax.config import Config
from resjax.data.augment import Statistics
from resjax.depth import Net
from resjax.train import batched_runs, state, step
from resjax.train.execution import scan_options
from resjax.train.periodic_actions import PeriodicActions

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}


@dataclasses.dataclass(frozen=True)
class Collective:
  """Collectives of one kind in a compiled program; one in the body of a loop counts once.

  Attributes:
    kind: One of `COLLECTIVES`.
    count: Number of collectives.
    bytes: Total size of their results on one device in bytes.
  """

  kind: str
  count: int
  bytes: int


@dataclasses.dataclass(frozen=True)
class Memory:
  """Memory of a compiled program on one device in bytes: arguments, and temporary buffers."""

  arguments: int
  temporary: int


def lower(config: Config, net: Net, devices: Mesh, images: int = 50_000) -> jax.stages.Lowered:
  """Lowers the training steps of a run for the platform of the mesh; see `trace`."""
  return trace(config, net, devices, images).lower()


def trace(config: Config, net: Net, devices: Mesh, images: int = 50_000) -> jax.stages.Traced:
  """Traces the training steps of `execution.runs_per_program` runs, as they are executed.

  Args:
    config: Settings of the run.
    net: Layer table of the network, of which the image shape and the number of classes are used.
    devices: Device mesh.
    images: Number of training images, if they are held in device memory.
  """
  if config.data.has_boxes:
    from resjax.detection import traced_step  # needs the extra detection

    return traced_step.trace(config, net, devices)
  model = models.build(config.model, net.classes, scan_options(config, net, devices))
  runs = config.execution.runs_per_program
  program = step.Program(model, config.train, config.data)
  with jax.set_mesh(devices):
    one = state.initial.eval_shape(config.model, config.train, net.classes, net.image_shape, 0)
    states = batched_runs.stack.eval_shape([one] * runs)
    states = jax.tree.map(_placed, states, mesh.state_shardings(devices, states))
    everywhere, split = mesh.replicated(devices), NamedSharding(devices, mesh.batch_spec(axis=1))
    hyperparameters = {
      name: _placed(value, everywhere)
      for name, value in batched_runs.hyperparameters([config.scaled_train] * runs).items()
    }
    channels = net.image_shape[-1:]
    mean = net.image_shape if config.data.normalize == "pixel_mean" else channels
    statistics = Statistics(_array(mean, jnp.float32, everywhere), _array(channels, jnp.float32, everywhere))
    if config.data.is_streamed:
      from resjax.train.input import streaming  # needs the extra imagenet

      batch = config.train.batch_size
      empty = jax.eval_shape(step.Interval.empty)
      intervals = jax.tree.map(lambda leaf: _array((runs, *leaf.shape), leaf.dtype, everywhere), empty)
      batches = streaming.Minibatches(
        _array((runs, batch, *net.image_shape), jnp.uint8, split),
        _array((runs, batch), jnp.int32, split),
        statistics,
        _array(channels * 2, jnp.float32, everywhere),
      )
      return streaming.streamed_step.trace(program, states, intervals, hyperparameters, batches)
    training_set = step.TrainingData(
      _array((images, *net.image_shape), jnp.uint8, everywhere), _array((images,), jnp.int32, everywhere), statistics
    )
    max_steps, stop = PeriodicActions(config).max_interval, _array((), jnp.int32, everywhere)
    return step.train_steps.trace(program, max_steps, states, hyperparameters, training_set, stop)


def memory(compiled: jax.stages.Compiled) -> Memory:
  """Returns the memory that the compiled program needs on one device."""
  planned = compiled.memory_analysis()
  return Memory(planned.argument_size_in_bytes, planned.temp_size_in_bytes)


def collectives(compiled: jax.stages.Compiled) -> list[Collective]:
  """Returns the collectives of the compiled program, one entry for each kind that occurs."""
  found: dict[str, list[int]] = {}
  kinds = "|".join(COLLECTIVES)
  for result, kind in re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", compiled.as_text()):
    found.setdefault(kind, []).append(_bytes(result))
  return [Collective(kind, len(sizes), sum(sizes)) for kind, sizes in sorted(found.items())]


def _bytes(result: str) -> int:
  """Returns the size in bytes of an instruction's result from its type, "f32[3,3,16,16]{3,2,1,0}" or a tuple."""
  arrays = re.findall(r"([a-z]+\d*)\[([\d,]*)\]", result)
  return sum(_SIZES[kind] * math.prod(int(n) for n in shape.split(",") if n) for kind, shape in arrays)


def _array(shape: tuple[int, ...], dtype: jax.typing.DTypeLike, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def _placed(array, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
  return _array(array.shape, array.dtype, sharding)
