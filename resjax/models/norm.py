"""Batch normalisation with its derivative written out: two sums over the batch forward, two backward.

Left to differentiation, XLA reads and writes the activations several times more; on a CPU that is a good part of a
step. There the sums also stand behind barriers: fused with what made their operand, or with each other, XLA's CPU code
is slower. Accelerators get none, so that sums, scaling and the activation's derivative can be fused.

Mean and variance are those of the whole batch, over all devices, or of equal parts of it, as in the paper, where each
of two GPUs saw 64 images.
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

COLUMNS = 128  # of a sum on a GPU: what a warp reads at once, four times


class BatchNorm(nn.Module):
  """Normalises each channel, then scales and shifts it (Sec. 3.4: after each convolution, before the activation).

  Attributes:
    train: whether to use, and average, the statistics of the batch; else the running ones.
    momentum: share of the old running statistics kept.
    epsilon: added to the variance.
    images: how many have their statistics taken together in training; 0: all of the batch.
    zero_scale: whether the scale starts at 0 instead of 1.
  """

  train: bool
  momentum: float
  epsilon: float
  images: int = 0
  zero_scale: bool = False

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
    """Returns an array of the same shape and type. The running variance is the population's, not the unbiased one."""
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
    """Returns the normalised array, and mean and variance [C], averaged over the parts of the batch."""
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
  """Returns the normalised array, and mean and variance [C] of the batch, which are constants to differentiation."""
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
  # dx = scale / deviation * (dy - mean of dy - normalised x * mean of (dy * normalised x)).
  dx = scale * inverse * (dy - d_bias / count - (at_least_float32(x) - mean) * (inverse * d_scale / count))
  return dx.astype(x.dtype), d_scale, d_bias


normalize.defvjp(_forward, _backward)


def _barrier_on_cpu(x: jax.Array) -> jax.Array:
  """Returns the array; where a program is lowered for a CPU, nothing before it is fused with what follows."""
  return lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)


def _sums(*arrays_BxHxWxC: jax.Array) -> list[jax.Array]:
  """Returns the sum [C] of each array over images and pixels."""
  return lax.platform_dependent(*arrays_BxHxWxC, cuda=_sums_of_rows, default=_plain_sums)


def _plain_sums(*arrays: jax.Array) -> list[jax.Array]:
  return [array.sum((0, 1, 2)) for array in arrays]


def _sums_of_rows(*arrays: jax.Array) -> list[jax.Array]:
  """Sums in two steps, the second for all arrays at once.

  XLA reads a column of few channels in pieces of 32 bytes. Here as many pixels as make 128 columns stand side by side,
  each image is summed by itself, and what is left is one small kernel, and on several GPUs one all-reduce.
  """
  images, height, width, channels = arrays[0].shape
  side_by_side = math.gcd(height * width, max(COLUMNS // channels, 1))
  rows = [a.reshape(images, -1, side_by_side * channels).sum(1) for a in arrays]
  return list(jnp.stack(rows).reshape(len(arrays), -1, channels).sum(1))
