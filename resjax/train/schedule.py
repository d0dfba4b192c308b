"""The learning rate: a rate with drops, and the warm-up of deep nets (Sec. 4.2), as functions of the state."""

import dataclasses

import jax
import jax.numpy as jnp

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


def rate(train: Train, warmup: Warmup, step: jax.Array) -> jax.Array:
  """Returns the learning rate of a step (counted from 0): the warm-up's, or `learning_rate` after the drops so far."""
  dropped = train.learning_rate
  for share in train.drops:
    after = round(share * train.steps)
    dropped *= jnp.where(step >= after, train.drop_factor, 1.0)
  return jnp.where(warmup.active, train.warmup_rate, dropped).astype(jnp.float32)
