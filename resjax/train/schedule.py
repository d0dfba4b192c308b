"""Learning rate as a function of the train state: schedules (Sec. 3.4, 4.2) and the warm-up of deep networks."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax
from optax.contrib import ReduceLROnPlateauState, reduce_on_plateau

from resjax.config import Model, Train, uses_warmup


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Warmup:
  """State of the warm-up.

  Attributes:
    active: Whether the warm-up is active, bool [].
    ended: Step after which the warm-up ended, int32 []; -1 before that, or without a warm-up.
    errors: Training errors of the last steps as fractions, float32 [window]; 1.0 for steps before the first.
  """

  active: jax.Array
  ended: jax.Array
  errors: jax.Array


def initial_warmup(model: Model, train: Train) -> Warmup:
  """Returns the state of the warm-up before the first step."""
  return Warmup(jnp.bool_(uses_warmup(model, train)), jnp.int32(-1), jnp.ones((train.warmup_window,), jnp.float32))


def update_warmup(warmup: Warmup, train: Train, step: jax.Array, error: jax.Array) -> Warmup:
  """Returns the state of the warm-up after a step; it ends when the mean error over the window is below the threshold.

  Args:
    warmup: State before the step.
    train: Settings of training.
    step: 0-based step that was executed, int32 [].
    error: Training error of the step as a fraction, float32 []. The error of one batch of 128 images has a standard
      error of 3.5 points, so it is averaged over a window.
  """
  errors = warmup.errors.at[step % train.warmup_window].set(error)
  ends = warmup.active & (errors.mean() < train.warmup_error)
  return Warmup(warmup.active & ~ends, jnp.where(ends, step + 1, warmup.ended), errors)


def _reduce_on_plateau(train: Train) -> optax.GradientTransformationExtraArgs:
  return reduce_on_plateau(train.drop_factor, train.plateau_patience, rtol=0.0, atol=train.plateau_gain)


def initial_plateau() -> ReduceLROnPlateauState:
  """Returns the state of the plateau schedule before the first evaluation, with a rate scale of 1."""
  return _reduce_on_plateau(Train()).init({"error": jnp.float32(0)})


@functools.partial(jax.jit, static_argnames="train")
def update_plateau(
  train: Train, plateau: ReduceLROnPlateauState, warmup: Warmup, error: float
) -> ReduceLROnPlateauState:
  """Returns the state of the plateau schedule after an evaluation: the rate drops if the error has stopped falling.

  Evaluations during the warm-up do not count, because its rate is lower.

  Args:
    train: Settings of training.
    plateau: State of the plateau schedule before the evaluation.
    warmup: State of the warm-up.
    error: Validation error as a fraction.
  """
  _, after = _reduce_on_plateau(train).update({}, plateau, value=error)
  return jax.tree.map(lambda old, new: jnp.where(warmup.active, old, new), plateau, after)


def rate(train: Train, warmup: Warmup, plateau: ReduceLROnPlateauState, step: jax.Array) -> jax.Array:
  """Returns the learning rate of a 0-based step, float32 []: that of the warm-up, or else that of the schedule."""
  if train.schedule == "plateau":
    scale = plateau.scale
  elif train.schedule == "cosine":
    scale = optax.cosine_decay_schedule(1.0, train.steps)(step)
  else:
    scale = jnp.float32(1)
    for fraction in train.drops:
      scale *= jnp.where(step >= round(fraction * train.steps), train.drop_factor, 1.0)
  return jnp.where(warmup.active, train.warmup_rate, train.learning_rate * scale).astype(jnp.float32)
