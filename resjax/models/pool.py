"""Max pooling: a window reduction on accelerators; on a CPU the maximum of shifted images, whose gradient is faster.

On a CPU, XLA computes the gradient of a window reduction by a scatter, element by element. In the stem of an ImageNet
network that takes seven times as long as the gradient of nine maxima. The two gradients differ only where several
values of a window are equal, such as the zeros after a ReLU, which passes no gradient there.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from resjax.models.onednn import Pads


def max_pool(x_BxHxWxC: jax.Array, window: int, pads: Pads) -> jax.Array:
  """Returns the max pooling of stride 2, [B, (H + padding - window) // 2 + 1, ..., C].

  Args:
    x_BxHxWxC: Images.
    window: Side of the window in pixels.
    pads: Padding before and after the image, of height and of width, filled with minus infinity.
  """
  return lax.platform_dependent(
    x_BxHxWxC,
    cpu=functools.partial(_max_of_shifted, window=window, pads=pads),
    default=functools.partial(_window_reduction, window=window, pads=pads),
  )


def _window_reduction(x: jax.Array, window: int, pads: Pads) -> jax.Array:
  return nn.max_pool(x, (window, window), (2, 2), pads)


def _max_of_shifted(x: jax.Array, window: int, pads: Pads) -> jax.Array:
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
  height, width = (
    (side - window) // 2 * 2 + 1 for side in x.shape[1:3]
  )  # from the first window's corner to the last's
  corners = itertools.product(range(window), repeat=2)
  return functools.reduce(jnp.maximum, (x[:, i : i + height : 2, j : j + width : 2] for i, j in corners))
