"""Which images make up which step: arithmetic on (key, step), so there is nothing to save and nothing to replay."""

import jax
import jax.numpy as jnp

from resjax.settings import ConfigError

LARGEST = 2**31 - 1


def batch_order(key: jax.Array, start: jax.Array | int, steps: int, images: int, batch_size: int) -> jax.Array:
  """Returns the training images of `steps` steps from step `start` on.

  All steps read one endless stream: epoch after epoch, each a random permutation of its own of the training set. Step s
  takes positions s * batch_size to (s + 1) * batch_size - 1, across the end of an epoch if need be. So a row depends on
  (key, its step) and the two sizes alone, however the steps are cut into intervals, and each image occurs exactly once
  an epoch. A batch may be larger than the training set.

  Args:
    key: the key of the order; the same for all steps of a run.
    start: the first step, int32 scalar, may be traced.
    steps: how many steps (static).
    images: size of the training set (static).
    batch_size: images a step (static).

  Returns:
    int32 [steps, batch_size], indices into the training set.

  Raises:
    ConfigError: the sizes do not fit into 32-bit arithmetic. The number of the step is not limited by this.
  """
  if (images + steps) * batch_size > LARGEST:
    raise ConfigError(
      f"train.batch_size = {batch_size}: must be at most {LARGEST // (images + steps)} "
      f"for {images} training images and intervals of {steps} steps"
    )
  # The first position is start * batch_size, which may exceed 32 bits. With start = whole * images + rest it lies
  # whole * batch_size epochs and rest * batch_size positions from the beginning.
  whole, rest = jnp.divmod(jnp.asarray(start, jnp.int32), jnp.int32(images))
  first_epoch = whole * batch_size + rest * batch_size // images
  offset = rest * batch_size % images
  span = steps * batch_size
  epochs = (images - 1 + span - 1) // images + 1  # as many as an interval meets that starts at the end of one
  permutations = jax.vmap(lambda epoch: jax.random.permutation(jax.random.fold_in(key, epoch), images))(
    first_epoch + jnp.arange(epochs, dtype=jnp.int32)
  )
  positions = offset + jnp.arange(span, dtype=jnp.int32)
  # Rows of consecutive epochs stand one after another, so the stream is the flattened table.
  return permutations.reshape(-1)[positions].astype(jnp.int32).reshape(steps, batch_size)
