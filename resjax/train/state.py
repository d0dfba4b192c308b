"""The train state: everything that the rest of a run depends on, and that a checkpoint contains."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from optax.contrib import ReduceLROnPlateauState

from resjax import config, models
from resjax.train import optimizer, schedule


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  """The state of a run between two training steps.

  The best error is not part of it, because it is computed from the log.

  Attributes:
    step: Number of completed optimizer steps, int32 [].
    key: Data of the random key of sample order, crops and mirroring, uint32 [key size].
    params: Parameters of the network.
    batch_stats: Running statistics of batch norm.
    optimizer: State of the optimizer.
    warmup: State of the warm-up.
    plateau: State of the plateau schedule: best validation error, evaluations since then, and scale of the rate.
  """

  step: jax.Array
  key: jax.Array
  params: Any
  batch_stats: Any
  optimizer: Any
  warmup: schedule.Warmup
  plateau: ReduceLROnPlateauState


# Compiling this program, with random numbers of many shapes, takes far longer than executing it once, so that it is
# compiled without optimization.
@functools.partial(
  jax.jit,
  static_argnames=("model", "train", "classes", "image_shape"),
  compiler_options={"xla_backend_optimization_level": 0},
)
def initial(
  model: config.Model, train: config.Train, classes: int, image_shape: tuple[int, int, int], seed: jax.Array | int
) -> State:
  """Returns the state before the first step.

  Args:
    model: Settings of the network.
    train: Settings of training.
    classes: Number of classes.
    image_shape: Height, width and channels of the input.
    seed: Seed of weights, sample order, crops and mirroring.
  """
  init_key, data_key = jax.random.split(jax.random.key(seed))
  net = models.build(model, classes)
  variables = net.init(init_key, jnp.zeros((1, *image_shape)), train=False)
  return State(
    step=jnp.int32(0),
    key=jax.random.key_data(data_key),
    params=variables["params"],
    batch_stats=variables["batch_stats"] if model.norm == "batch" else {},
    optimizer=optimizer.make(train).init(variables["params"]),
    warmup=schedule.initial_warmup(model, train),
    plateau=schedule.initial_plateau(),
  )
