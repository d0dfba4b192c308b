"""Initializers of kernels and biases (`config.Model.initialization`)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from resjax import config
from resjax.models.activations import critical_variances
from resjax.models.conv import HE_NORMAL

_ORTHOGONAL = ("orthogonal", "delta")


def kernel(net: config.Model) -> nn.initializers.Initializer:
  """Returns the initializer of the kernels of the first layer and, with the exceptions of `branch_kernel`, of branches.

  It is He's normal initializer, or an orthogonal one scaled by the critical variance of the activation.
  """
  if net.initialization not in _ORTHOGONAL:
    return HE_NORMAL
  scale = critical_variances(net)[0] ** 0.5

  def initialize(key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32) -> jax.Array:
    height, width, inputs, outputs = shape
    if net.initialization == "orthogonal":
      return _orthogonal(key, (height * width * inputs, outputs), scale, dtype).reshape(shape)
    center = _orthogonal(key, (inputs, outputs), scale, dtype)
    return jnp.zeros(shape, dtype).at[height // 2, width // 2].set(center)

  return initialize


def _orthogonal(key: jax.Array, shape: tuple[int, int], scale: float, dtype: jax.typing.DTypeLike) -> jax.Array:
  """Returns scale * max(sqrt(out / in), 1) times a random matrix [in, out] with orthonormal rows or columns.

  Multiplication by it changes the mean square of the elements of a random vector by the factor scale^2.
  """
  inputs, outputs = shape
  return nn.initializers.orthogonal(scale * max(outputs / inputs, 1.0) ** 0.5)(key, shape, dtype)


def branch_kernel(net: config.Model, layer: int) -> nn.initializers.Initializer:
  """Returns the initializer of the kernel of a layer in a main branch.

  In a Fixup network of L blocks of m layers, the last layer is zero, and the variance of the others is 2 / fan_out,
  divided by L^(1 / (m - 1)).

  Args:
    net: Settings of the network.
    layer: 1-based position in the main branch.
  """
  layers, blocks = net.structure.layers_per_block, net.structure.total_blocks
  last = layer == layers
  if net.structure.fixup:
    scale = 2.0 * blocks ** (-1 / (layers - 1))
    return nn.initializers.zeros if last else nn.initializers.variance_scaling(scale, "fan_out", "normal")
  return _normal(2.0 / blocks) if last and net.initialization == "depth" else kernel(net)


def bias(net: config.Model) -> nn.initializers.Initializer:
  """Returns the initializer of the biases that replace norms: zero, or normal of tanh's critical variance."""
  variance = critical_variances(net)[1] if net.initialization in _ORTHOGONAL else 0.0
  return nn.initializers.normal(variance**0.5) if variance else nn.initializers.zeros


def classifier_kernel(net: config.Model) -> nn.initializers.Initializer:
  """Returns the initializer of the kernel of the classifier, which is zero in Fixup networks."""
  return nn.initializers.zeros if net.structure.fixup else HE_NORMAL


def _normal(scale: float) -> nn.initializers.Initializer:
  """Returns the initializer of a normal distribution of variance scale / fan_in."""
  return nn.initializers.variance_scaling(scale, "fan_in", "normal")
