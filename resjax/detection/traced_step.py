"""Training step of a detector, traced from shapes alone for a mesh whose devices need not exist."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from resjax import mesh
from resjax.config import Config
from resjax.data.augment import Statistics
from resjax.depth import Net
from resjax.detection.forward import Images
from resjax.detection.input import Program, initial_train_state, train_step
from resjax.detection.matching import GroundTruth
from resjax.detection.network import Detector
from resjax.train import batched_runs
from resjax.train.execution import scan_options
from resjax.train.step import Interval


def trace(config: Config, net: Net, devices: Mesh) -> jax.stages.Traced:
  """Traces the training step of a run for landscape images of the largest size.

  Args:
    config: Settings of the run.
    net: Layer table of the detector.
    devices: Device mesh.
  """
  detector = Detector(config.model, config.detection, net.classes, scan_options(config, net, devices))
  runs = config.execution.runs_per_program
  with jax.set_mesh(devices):
    shape = net.image_shape[:2]
    states = batched_runs.stack.eval_shape([initial_train_state.eval_shape(detector, config.train, shape, 0)] * runs)
    states = jax.tree.map(_shape_on, states, mesh.state_shardings(devices, states))
    everywhere, split = mesh.replicated(devices), NamedSharding(devices, mesh.batch_spec(axis=1))

    def array(shape: tuple[int, ...], dtype: Any, sharding: NamedSharding = everywhere) -> jax.ShapeDtypeStruct:
      return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    hyperparameters = {
      name: array(value.shape, value.dtype)
      for name, value in batched_runs.hyperparameters([config.scaled_train] * runs).items()
    }
    intervals = jax.tree.map(lambda leaf: array((runs, *leaf.shape), leaf.dtype), jax.eval_shape(Interval.empty))
    first = (runs, config.train.batch_size)
    objects = (*first, config.detection.objects)
    images = Images(array((*first, *shape, 3), jnp.uint8, split), array((*first, 2), jnp.int32, split))
    truth = GroundTruth(
      array((*objects, 4), jnp.float32, split), array(objects, jnp.int32, split), array(objects, jnp.bool_, split)
    )
    statistics = Statistics(array((3,), jnp.float32), array((3,), jnp.float32))
    return train_step.trace(
      Program(detector, config.train), states, intervals, hyperparameters, (images, truth), statistics
    )


def _shape_on(leaf: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
