"""The train state: everything a run's future depends on, so that saving the state is saving the run."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from resjax import config, models
from resjax.models import layout
from resjax.train import optimizer, schedule


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
  """What a step takes and returns.

  Attributes:
    step: int32 scalar, optimizer steps done.
    key: uint32, the data of the key of order, crops and mirrors.
    params, batch_stats: the net's, in the layout it runs in.
    optimizer: optax's state.
    warmup: the warm-up's phase and error window.

  The best error so far is not in it: it follows from the log, which holds the same steps.
  """

  step: jax.Array
  key: jax.Array
  params: Any
  batch_stats: Any
  optimizer: Any
  warmup: schedule.Warmup


def initial(
  model: config.Model, train: config.Train, classes: int, image_shape: tuple[int, int, int], scan: bool, seed: int
) -> State:
  """Returns the state before the first step.

  The net is initialised scanned, whichever way it runs: one small program, and the same weights in both layouts.

  Args:
    model, train: settings.
    classes: of the data set.
    image_shape: (height, width, channels).
    scan: whether the net runs with the blocks of a stage scanned.
    seed: of weights, order, crops and mirrors.
  """
  state = initial_stacked(model, train, classes, image_shape, seed)
  return state if scan else in_layout(state, layout.unstacked)


# Random numbers of many shapes: compiling them takes far longer than drawing them once, so they are not optimised.
@functools.partial(
  jax.jit,
  static_argnames=("model", "train", "classes", "image_shape"),
  compiler_options={"xla_backend_optimization_level": 0},
)
def initial_stacked(
  model: config.Model, train: config.Train, classes: int, image_shape: tuple[int, int, int], seed: jax.Array
) -> State:
  """Returns the state of a scanned net before the first step; arguments as those of `initial`."""
  init_key, data_key = jax.random.split(jax.random.key(seed))
  net = models.build(model, classes, scan=True)
  variables = net.init(init_key, jnp.zeros((1, *image_shape)), train=False)
  return State(
    step=jnp.int32(0),
    key=jax.random.key_data(data_key),
    params=variables["params"],
    batch_stats=variables["batch_stats"],
    optimizer=optimizer.make(train).init(variables["params"]),
    warmup=schedule.start(model, train),
  )


def in_layout(state: State, convert: Any) -> State:
  """Returns the state with everything that has the net's structure converted by `layout.stacked` or `unstacked`."""
  momentum = jax.tree.map(convert, state.optimizer, is_leaf=lambda node: isinstance(node, dict))
  return dataclasses.replace(
    state, params=convert(state.params), batch_stats=convert(state.batch_stats), optimizer=momentum
  )
