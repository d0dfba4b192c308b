"""The convolution and its gradients on a CPU, each as convolutions of NHWC images with a dense or dilated kernel.

oneDNN has fast code for such convolutions. Without oneDNN, XLA's own fast code computes them if the kernel is HWIO;
other convolutions in the body of a `lax.scan` fall back to a naive loop, some twenty times slower.

JAX's compilation cache cannot store programs with oneDNN's convolutions, and small convolutions gain little, so
oneDNN is used only from `ONEDNN_MACS` multiply-adds on.

- The gradient of the input is a convolution with the flipped kernel. At stride 2, the four phases of the image (even
  and odd rows and columns) become channels (space to depth), so that the stride of this convolution is 1, too.
- The gradient of the kernel is a convolution of the image with the gradient of the output as kernel and the batch as
  input channels. It is computed in chunks of the batch, so that the transposed copies stay in the CPU's cache.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

from resjax.models import onednn
from resjax.models.onednn import Pads

CHUNK = 8  # minimum number of images per chunk of the weight gradient
ONEDNN_MACS = 2**24  # multiply-adds from which oneDNN is used; 0.2 ms on a core of 2023


def forward(x: jax.Array, w: jax.Array, stride: int, pads: Pads) -> jax.Array:
  """Returns the output [B, H', W', O] for images [B, H, W, C] and a kernel [K, K, C, O]."""
  height, width = (size + sum(pad) - len(w) for size, pad in zip(x.shape[1:3], pads, strict=True))
  macs = len(x) * (height // stride + 1) * (width // stride + 1) * w.size
  return _convolution(x.dtype, macs)(x, w, pads, (stride, stride))


def input_gradient(w: jax.Array, dy: jax.Array, sides: tuple[int, int], stride: int, pads: Pads) -> jax.Array:
  """Returns the gradient [B, H, W, C] with respect to the images.

  Args:
    w: Kernel [K, K, C, O].
    dy: Gradient with respect to the output, [B, H', W', O].
    sides: Height and width of the images.
    stride: Stride of both axes.
    pads: Zero padding of the images.
  """
  if stride == 1:
    return _input_gradient_of_stride_1(w, dy, sides, pads)
  x = jax.ShapeDtypeStruct((len(dy), *sides, w.shape[2]), dy.dtype)
  phases = functools.partial(_image_phases, pads=pads, kernel=len(w))
  sides = jax.eval_shape(phases, x).shape[1:3]
  dx = _input_gradient_of_stride_1(_kernel_phases(w), dy, sides, ((0, 0), (0, 0)))
  return jax.linear_transpose(phases, x)(dx)[0]


def weight_gradient(x: jax.Array, dy: jax.Array, k: int, stride: int, pads: Pads) -> jax.Array:
  """Returns the gradient [K, K, C, O] with respect to the kernel.

  Args:
    x: Images [B, H, W, C].
    dy: Gradient with respect to the output, [B, H', W', O].
    k: Side of the kernel.
    stride: Stride of both axes.
    pads: Zero padding of the images.
  """
  weights = k * k * x.shape[-1] * dy.shape[-1]
  if k == 1:
    return jnp.einsum("bhwc,bhwo->co", x[:, ::stride, ::stride], dy)[None, None]
  convolution = _convolution(dy.dtype, dy.size // dy.shape[-1] * weights)
  # With small maps of many channels, chunks are large enough that adding up their results takes less time than they do.
  least = max(CHUNK, weights // (x[0].size + dy[0].size))
  chunk = next((size for size in range(least, len(x)) if len(x) % size == 0), len(x))
  if chunk == len(x):
    return _weight_gradient_of_chunk(convolution, x, dy, k, stride, pads)

  def add(i: jax.Array, total: jax.Array) -> jax.Array:
    x_part, dy_part = (lax.dynamic_slice_in_dim(array, i * chunk, chunk) for array in (x, dy))
    return total + _weight_gradient_of_chunk(convolution, x_part, dy_part, k, stride, pads)

  return lax.fori_loop(0, len(x) // chunk, add, jnp.zeros((k, k, x.shape[-1], dy.shape[-1]), x.dtype))


def _input_gradient_of_stride_1(w: jax.Array, dy: jax.Array, sides: Sequence[int], pads: Pads) -> jax.Array:
  k, (height, width) = len(w), dy.shape[1:3]
  (top, _), (left, _) = pads
  full = (k - 1 - top, sides[0] + top - height), (k - 1 - left, sides[1] + left - width)
  return _convolution(dy.dtype, dy.size // dy.shape[-1] * w.size)(dy, w[::-1, ::-1], full, kernel="HWOI")


def _image_phases(x: jax.Array, pads: Pads, kernel: int) -> jax.Array:
  """Returns the four phases of the padded image as channels, [B, H' + K' - 1, W' + K' - 1, 4C], K' = ceil(K / 2)."""
  if kernel == 1:  # of the four phases one is used
    return x[:, ::2, ::2]
  sides = []
  for size, (before, after) in zip(x.shape[1:3], pads, strict=True):
    used = 2 * ((size + before + after - kernel) // 2 + (kernel + 1) // 2)
    sides.append((before, used - size - before, 0))
  x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *sides, (0, 0, 0)])
  return jnp.concatenate([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)


def _kernel_phases(w: jax.Array) -> jax.Array:
  """Returns the kernel that gives the same convolution on `_image_phases`, [K', K', 4C, O]."""
  if len(w) == 1:
    return w
  odd = (0, len(w) % 2)
  w = jnp.pad(w, (odd, odd, (0, 0), (0, 0)))
  return jnp.concatenate([w[i::2, j::2] for i in (0, 1) for j in (0, 1)], 2)


def _weight_gradient_of_chunk(
  convolution: Callable[..., jax.Array], x: jax.Array, dy: jax.Array, k: int, stride: int, pads: Pads
) -> jax.Array:
  """Returns the weight gradient [K, K, C, O] of a chunk of the batch.

  Width and channels of the image are merged into one axis, along which the kernel is dilated by `stride * C`. If a
  strided convolution leaves out the last pixels of an image, the result has an extra row or column, which is dropped.
  """
  batch, height, width, channels = x.shape
  image = lax.optimization_barrier(x.transpose(1, 2, 3, 0)).reshape(1, height, width * channels, batch)
  sides = (pads[0], (pads[1][0] * channels, pads[1][1] * channels))
  dw = convolution(image, dy, sides, dilation=(stride, stride * channels), kernel="IHWO")
  return dw[:, :k, : k * channels].reshape(k, k, channels, -1)


def _convolution(dtype: jnp.dtype, macs: int) -> Callable[..., jax.Array]:
  """Returns oneDNN's convolution, or XLA's, for a product of `macs` multiply-adds."""
  fast = dtype == jnp.float32 and macs >= ONEDNN_MACS and onednn.available()
  return onednn.convolution if fast else _xla_convolution


def _xla_convolution(
  x: jax.Array,
  w: jax.Array,
  pads: Pads,
  stride: Sequence[int] = (1, 1),
  dilation: Sequence[int] = (1, 1),
  kernel: str = "HWIO",
) -> jax.Array:
  """Returns the result of `onednn.convolution`, computed by XLA.

  A barrier keeps XLA from folding the transposition of the kernel into the convolution.
  """
  x, w = lax.optimization_barrier((x, w.transpose([kernel.index(axis) for axis in "HWIO"])))
  return lax.conv_general_dilated(x, w, stride, pads, rhs_dilation=dilation, dimension_numbers=("NHWC", "HWIO", "NHWC"))
