"""The learning rate as a function of the state: how it falls (Sec. 3.4, 4.2), and the warm-up of deep nets."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from optax.contrib import ReduceLROnPlateauState, reduce_on_plateau

from resjax.config import Model, Train

WARMUP_DEPTH = 110  # the paper warms up the residual net of 110 layers; shallower ones start at the full rate


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Warmup:
  """The warm-up's controller.

  Attributes:
    active: bool scalar.
    ended: int32 scalar, the step after which it ended; -1 before that, or without a warm-up.
    errors: float32 [window], training errors of the last steps, 1.0 where there was no step yet.
  """

  active: jax.Array
  ended: jax.Array
  errors: jax.Array


def start(model: Model, train: Train) -> Warmup:
  """Returns the controller before the first step."""
  return Warmup(jnp.bool_(uses_warmup(model, train)), jnp.int32(-1), jnp.ones((train.warmup_window,), jnp.float32))


def uses_warmup(model: Model, train: Train) -> bool:
  """Whether a run warms up: as said, or by `auto` a residual CIFAR net of 110 layers or more."""
  deep = model.family == "cifar" and model.kind == "residual" and model.depth >= WARMUP_DEPTH
  return train.warmup == "on" or (train.warmup == "auto" and deep)


def advance(warmup: Warmup, train: Train, step: jax.Array, error: jax.Array) -> Warmup:
  """Returns the controller after a step; it ends once the mean error over the whole window is below the threshold.

  Args:
    warmup: the controller before.
    train: settings.
    step: the step that was done, counted from 0.
    error: its training error, a fraction. One batch of 128 has a standard error of 3.5 points, hence the window.
  """
  errors = warmup.errors.at[step % train.warmup_window].set(error)
  ends = warmup.active & (errors.mean() < train.warmup_error)
  return Warmup(warmup.active & ~ends, jnp.where(ends, step + 1, warmup.ended), errors)


def _reduce_on_plateau(train: Train) -> optax.GradientTransformationExtraArgs:
  return reduce_on_plateau(train.drop_factor, train.plateau_patience, rtol=0.0, atol=train.plateau_gain)


def start_plateau() -> ReduceLROnPlateauState:
  """Returns the plateau schedule's state before the first evaluation; the scale of the rate is 1."""
  return _reduce_on_plateau(Train()).init({"error": jnp.float32(0)})


@functools.partial(jax.jit, static_argnames="train")
def judge(train: Train, plateau: ReduceLROnPlateauState, warmup: Warmup, error: float) -> ReduceLROnPlateauState:
  """Returns the plateau schedule's state after an evaluation: the rate drops when the error has stopped falling.

  During the warm-up nothing counts: its low rate says nothing about the full one.

  Args:
    train: settings of the run.
    plateau, warmup: the state before.
    error: the validation error, a fraction.
  """
  _, after = _reduce_on_plateau(train).update({}, plateau, value=error)
  return jax.tree.map(lambda old, new: jnp.where(warmup.active, old, new), plateau, after)


def rate(train: Train, warmup: Warmup, plateau: ReduceLROnPlateauState, step: jax.Array) -> jax.Array:
  """Returns the learning rate of a step (counted from 0): the warm-up's, or `learning_rate` as the schedule has it."""
  if train.schedule == "plateau":
    scale = plateau.scale
  elif train.schedule == "cosine":
    scale = optax.cosine_decay_schedule(1.0, train.steps)(step)
  else:
    scale = jnp.float32(1)
    for share in train.drops:
      scale *= jnp.where(step >= round(share * train.steps), train.drop_factor, 1.0)
  return jnp.where(warmup.active, train.warmup_rate, train.learning_rate * scale).astype(jnp.float32)
