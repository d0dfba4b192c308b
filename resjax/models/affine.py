"""Learned biases, used in networks without normalization, and learned scalars, used by some shortcuts."""

import jax
from flax import linen as nn


class Bias(nn.Module):
  """Adds a learned bias to each channel.

  Attributes:
    initializer: Initializer of the biases.
  """

  initializer: nn.initializers.Initializer = nn.initializers.zeros

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
    """Returns the input plus the bias, of the same shape and dtype."""
    bias = self.param("bias", self.initializer, x_BxHxWxC.shape[-1:])
    return x_BxHxWxC + bias.astype(x_BxHxWxC.dtype)


class Scalar(nn.Module):
  """One learned scalar.

  Attributes:
    initial_value: Initial value of the scalar.
  """

  initial_value: float

  @nn.compact
  def __call__(self, like: jax.Array) -> jax.Array:
    """Returns the scalar, shape [], in the dtype of `like`."""
    return self.param("value", nn.initializers.constant(self.initial_value), ()).astype(like.dtype)
