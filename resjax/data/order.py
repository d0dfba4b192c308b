"""Sample order of training, a pure function of (key, step): resuming needs no saved state and replays nothing."""

import jax
import jax.numpy as jnp

from resjax.settings import ConfigError

LARGEST = 2**31 - 1


def batch_order(key: jax.Array, start: jax.Array | int, steps: int, images: int, batch_size: int) -> jax.Array:
  """Returns the indices of the training images of `steps` steps, starting at step `start`.

  All steps read one endless stream, in which each epoch is a separate random permutation of the training set. Step s
  reads positions s * batch_size to (s + 1) * batch_size - 1, also across the end of an epoch. A row of the result thus
  depends only on the key, its step and the two sizes, not on how steps are grouped into calls, and each image occurs
  exactly once per epoch. A batch may be larger than the training set.

  Args:
    key: Random key of the order, the same for all steps of a run.
    start: First step, int32 [], may be traced.
    steps: Number of steps (static).
    images: Number of training images (static).
    batch_size: Images per step (static).

  Returns:
    Indices into the training set, int32 [steps, batch_size].

  Raises:
    ConfigError: The sizes exceed 32-bit arithmetic. The step itself is not limited.
  """
  if (images + steps) * batch_size > LARGEST:
    raise ConfigError(
      f"train.batch_size = {batch_size}: must be at most {LARGEST // (images + steps)} "
      f"for {images} training images and intervals of {steps} steps"
    )
  # The first position, start * batch_size, may exceed 32 bits. With start = whole * images + rest it is
  # whole * batch_size epochs and rest * batch_size positions.
  whole, rest = jnp.divmod(jnp.asarray(start, jnp.int32), jnp.int32(images))
  first_epoch = whole * batch_size + rest * batch_size // images
  offset = rest * batch_size % images
  span = steps * batch_size
  epochs = (images - 1 + span - 1) // images + 1  # if the interval starts at the last position of an epoch
  permutations = jax.vmap(lambda epoch: jax.random.permutation(jax.random.fold_in(key, epoch), images))(
    first_epoch + jnp.arange(epochs, dtype=jnp.int32)
  )
  positions = offset + jnp.arange(span, dtype=jnp.int32)
  # The rows are consecutive epochs, so the flattened table is the stream.
  return permutations.reshape(-1)[positions].astype(jnp.int32).reshape(steps, batch_size)
