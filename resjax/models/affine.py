"""Learned biases, which replace normalization in networks without it, and learned scalars, which some shortcuts use."""

import jax
from flax import linen as nn


class Bias(nn.Module):
  """Adds a learned bias to each channel.

  Attributes:
    start: Initializer of the biases.
  """

  start: nn.initializers.Initializer = nn.initializers.zeros

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
    """Returns the input plus the bias, of the same shape and dtype."""
    bias = self.param("bias", self.start, x_BxHxWxC.shape[-1:])
    return x_BxHxWxC + bias.astype(x_BxHxWxC.dtype)


class Scalar(nn.Module):
  """One learned scalar.

  Attributes:
    start: Initial value.
  """

  start: float

  @nn.compact
  def __call__(self, like: jax.Array) -> jax.Array:
    """Returns the scalar, shape [], in the dtype of `like`."""
    return self.param("value", nn.initializers.constant(self.start), ()).astype(like.dtype)
