"""Batch normalization with an explicit derivative: two sums over the batch in the forward pass, two in the backward.

With automatic differentiation XLA reads and writes the activations several times more often, which on a CPU is a good
part of a training step. On a CPU, optimization barriers also keep the sums from being fused with the operations before
them and with each other, which XLA compiles to slower code. Accelerators get no barriers, so that sums, scaling and
the derivative of the activation can be fused.

Mean and variance are taken over the whole batch, on all devices, or over equal parts of it, as in the paper, where
each of two GPUs processed 64 images.
"""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from resjax.models.block_scan import STATISTICS
from resjax.models.precision import at_least_float32

COLUMNS = 128  # width of the rows summed on a GPU: four times what a warp reads at once


class BatchNorm(nn.Module):
  """Normalizes each channel, then scales and shifts it (Sec. 3.4: after each convolution, before the activation).

  Attributes:
    train: Whether to normalize by the statistics of the batch and update the running ones; if not, the running
      statistics are used.
    momentum: Weight of the previous running statistics in an update.
    epsilon: Constant added to the variance.
    images: Images per group whose statistics are computed together in training; 0 for the whole batch.
    zero_scale: Whether the scale starts at 0 instead of 1.
  """

  train: bool
  momentum: float
  epsilon: float
  images: int = 0
  zero_scale: bool = False

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
    """Returns the normalized input, of the same shape and dtype.

    The running variance is the population variance, not the unbiased estimate.
    """
    shape = x_BxHxWxC.shape[-1:]
    scale = self.param("scale", nn.initializers.zeros if self.zero_scale else nn.initializers.ones, shape)
    bias = self.param("bias", nn.initializers.zeros, shape)
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
    running_var = self.variable("batch_stats", "var", jnp.ones, shape)
    if not self.train:
      factor = scale * lax.rsqrt(running_var.value + self.epsilon)
      return (at_least_float32(x_BxHxWxC) * factor + (bias - running_mean.value * factor)).astype(x_BxHxWxC.dtype)
    y, mean, var = self._normalize_parts(x_BxHxWxC, scale, bias)
    if self.is_mutable_collection("batch_stats") and not self.is_initializing():
      running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
      running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var
    return y

  def _normalize_parts(self, x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the normalized array, and its mean and variance [C], averaged over the parts of the batch."""
    parts = len(x) // self.images if self.images else 1
    if parts == 1:
      return normalize(x, scale, bias, self.epsilon)
    split = x.reshape(parts, -1, *x.shape[1:])
    y, mean, var = jax.vmap(lambda part: normalize(part, scale, bias, self.epsilon))(split)
    return y.reshape(x.shape), mean.mean(0), var.mean(0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize(
  x_BxHxWxC: jax.Array, scale_C: jax.Array, bias_C: jax.Array, epsilon: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalizes by the statistics of the batch.

  Args:
    x_BxHxWxC: Input.
    scale_C: Learned scale.
    bias_C: Learned bias.
    epsilon: Constant added to the variance.

  Returns:
    Normalized array [B, H, W, C] in the dtype of the input, and mean and variance [C] of the batch. Mean and variance
    have no gradient.
  """
  return _forward(x_BxHxWxC, scale_C, bias_C, epsilon)[0]


def _forward(x, scale, bias, epsilon):
  count = x.size // x.shape[-1]
  x = _barrier_on_cpu(x)
  total, of_squares = _sums(at_least_float32(x), at_least_float32(x) * at_least_float32(x))
  mean = total / count
  var = jnp.maximum(of_squares / count - mean * mean, 0)
  mean, inverse = checkpoint_name((mean, lax.rsqrt(var + epsilon)), STATISTICS)
  y = ((at_least_float32(x) - mean) * (scale * inverse) + bias).astype(x.dtype)
  return (y, mean, var), (x, scale, mean, inverse)


def _backward(epsilon, saved, cotangents):
  x, scale, mean, inverse = saved
  dy = at_least_float32(_barrier_on_cpu(cotangents[0]))
  count = x.size // x.shape[-1]
  d_bias, of_products = _sums(dy, dy * at_least_float32(x))
  d_scale = inverse * (of_products - mean * d_bias)
  # dx = scale / deviation * (dy - mean of dy - normalized x * mean of (dy * normalized x)).
  dx = scale * inverse * (dy - d_bias / count - (at_least_float32(x) - mean) * (inverse * d_scale / count))
  return dx.astype(x.dtype), d_scale, d_bias


normalize.defvjp(_forward, _backward)


def _barrier_on_cpu(x: jax.Array) -> jax.Array:
  """Returns the array, on a CPU behind a barrier that keeps XLA from fusing across it."""
  return lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)


def _sums(*arrays_BxHxWxC: jax.Array) -> list[jax.Array]:
  """Returns the sum [C] of each array over images and pixels."""
  return lax.platform_dependent(*arrays_BxHxWxC, cuda=_sums_of_rows, default=_plain_sums)


def _plain_sums(*arrays: jax.Array) -> list[jax.Array]:
  return [array.sum((0, 1, 2)) for array in arrays]


def _sums_of_rows(*arrays: jax.Array) -> list[jax.Array]:
  """Returns the sums of each channel, computed in two steps, the second for all arrays at once.

  With few channels, XLA's sum over pixels reads memory in pieces of 32 bytes. Here neighboring pixels form rows of 128
  columns, and each image is summed separately. The remaining sum over images is one small kernel, and one all-reduce
  on several GPUs.
  """
  images, height, width, channels = arrays[0].shape
  side_by_side = math.gcd(height * width, max(COLUMNS // channels, 1))
  rows = [a.reshape(images, -1, side_by_side * channels).sum(1) for a in arrays]
  return list(jnp.stack(rows).reshape(len(arrays), -1, channels).sum(1))
