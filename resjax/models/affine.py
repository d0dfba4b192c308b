"""Small learnt parts: what stands in a norm's place in nets without norms, and single numbers of some shortcuts."""

import jax
from flax import linen as nn


class Bias(nn.Module):
  """Adds a learnt number to each channel.

  Attributes:
    start: its first value.
  """

  start: float = 0.0

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
    """Returns an array of the same shape and type."""
    bias = self.param("bias", nn.initializers.constant(self.start), x_BxHxWxC.shape[-1:])
    return x_BxHxWxC + bias.astype(x_BxHxWxC.dtype)


class Scalar(nn.Module):
  """One learnt number.

  Attributes:
    start: its first value.
  """

  start: float

  @nn.compact
  def __call__(self, like: jax.Array) -> jax.Array:
    """Returns it as a scalar of the type of `like`."""
    return self.param("value", nn.initializers.constant(self.start), ()).astype(like.dtype)
