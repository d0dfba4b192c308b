"""The train state: everything a run's future depends on, so that saving the state is saving the run."""

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
  """What a step takes and returns.

  Attributes:
    step: int32 scalar, optimizer steps done.
    key: uint32, the data of the key of order, crops and mirrors.
    params, batch_stats: the net's.
    optimizer: optax's state.
    warmup: the warm-up's phase and error window.
    plateau: best validation error, evaluations since and scale of the rate, of `train.schedule=plateau`.

  The best error of the result is not in it: it follows from the log, which holds the same steps.
  """

  step: jax.Array
  key: jax.Array
  params: Any
  batch_stats: Any
  optimizer: Any
  warmup: schedule.Warmup
  plateau: ReduceLROnPlateauState


# Random numbers of many shapes: compiling them takes far longer than drawing them once, so they are not optimised.
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
    model, train: settings.
    classes: of the data set.
    image_shape: (height, width, channels).
    seed: of weights, order, crops and mirrors.
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
    warmup=schedule.start(model, train),
    plateau=schedule.start_plateau(),
  )
