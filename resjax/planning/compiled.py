"""The training step of a run, compiled for a TPU slice that is not there."""

import dataclasses
import os
import re
import time
from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from resjax import data, mesh, models
from resjax.config import Config
from resjax.data.augment import Statistics
from resjax.data.sources import is_streamed
from resjax.planning.chips import Slice
from resjax.train import state, step, streamed, together
from resjax.train.timetable import Timetable

COLLECTIVE = re.compile(r" (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\(")
TOO_LARGE = re.compile(r"Used ([\d.]+)([KMG]) of")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclasses.dataclass(frozen=True)
class Program:
  """What the compiler says of a training step.

  Attributes:
    seconds: it took to compile.
    memory: bytes on each device: arguments, results and temporary buffers.
    compiles: False where the compiler itself refuses for want of memory.
    collectives: how many of each kind stand in the program; one inside a loop over blocks counts once.
  """

  seconds: float
  memory: int
  compiles: bool
  collectives: dict[str, int]


def prepare() -> None:
  """Lets JAX work on the CPU, and the TPU's compiler without asking for a machine; call it before anything of JAX."""
  jax.config.update("jax_platforms", "cpu")
  os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "TPU_ACCELERATOR_TYPE": "v5litepod-8"}
  os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # two plans at a time: no machine is held


def compile_step(config: Config, slice_: Slice, devices: int) -> Program:
  """Compiles the training step of a run, as a run would, for the first `devices` chips of a slice."""
  there = topologies.get_topology_desc(platform="tpu", topology_name=slice_.name).devices[:devices]
  chips = jax.make_mesh((devices,), (mesh.DATA,), axis_types=(AxisType.Auto,), devices=there)
  start = time.monotonic()
  try:
    compiled = _lowered(config, chips).compile()
  except jax.errors.JaxRuntimeError as error:
    if not (used := TOO_LARGE.search(str(error))):
      raise
    return Program(time.monotonic() - start, round(float(used[1]) * UNITS[used[2]]), False, {})
  seconds, memory = time.monotonic() - start, compiled.memory_analysis()
  taken = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
  taken += memory.temp_size_in_bytes + memory.generated_code_size_in_bytes
  return Program(seconds, taken, True, dict(Counter(COLLECTIVE.findall(compiled.as_text()))))


def _lowered(config: Config, chips: Mesh) -> Any:
  """Returns the lowered training step of a run: of images held on the devices, or of a stream of them."""
  images, train, most = data.describe(config.data), config.train, Timetable(config).longest
  shape, classes, runs = images.image_shape, images.classes, 1
  everywhere, split = mesh.replicated(chips), NamedSharding(chips, PartitionSpec(None, mesh.DATA))

  def array(shape: tuple[int, ...], kind: Any, sharding: NamedSharding = everywhere) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, kind, sharding=sharding)

  def placed(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: array(leaf.shape, leaf.dtype), tree)

  net = models.build(config.model, classes, models.Loop(config.execution.unroll, config.execution.remat))
  initial = state.initial.eval_shape(config.model, train, classes, shape, 0)
  states, numbers = placed(together.stack.eval_shape([initial])), placed(together.numbers([train]))
  statistics = Statistics(
    array(shape if config.data.normalize == "pixel_mean" else shape[2:], jnp.float32), array(shape[2:], jnp.float32)
  )
  with jax.set_mesh(chips):
    if not is_streamed(config.data):
      held = (array((images.train_images, *shape), jnp.uint8), array((images.train_images,), jnp.int32))
      training_set = step.TrainingData(*held, statistics)
      return step.train_steps.lower(net, train, config.data, most, states, numbers, training_set, array((), jnp.int32))
    intervals = placed(jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[None], step.Interval.empty())))
    batch = (runs, train.batch_size)
    return streamed.streamed_step.lower(
      *(net, train, config.data, states, intervals, numbers),
      array((*batch, *shape), jnp.uint8, split),
      array(batch, jnp.int32, split),
      statistics,
      array((shape[2], shape[2]), jnp.float32),
    )
