"""The convolution: plain on accelerators, and on a CPU in forms that XLA runs fast there, also inside loops.

XLA's CPU compiler has a fast library for convolutions of one dimension order (NHWC, HWIO) with more than 16 channels on
one side. Everything else falls to a naive loop: what differentiation makes of a convolution, above all in the body of a
`lax.scan`, where it is some twenty times slower. So on a CPU the derivative is written out here in that order, behind
barriers that keep XLA from folding the transposes back:

- a kernel that is larger than the image gets an image with its zeros written out;
- few channels: two pixels at once, as one kernel that is a pixel wider and has twice the output channels. A third more
  arithmetic, yet faster, because the naive loop is avoided. Three colours get a fourth of zeros: a third of the time;
- the input gradient at stride 2 is that at stride 1 by the four phases of the image, side by side as channels (space to
  depth), put together again;
- the weight gradient is a convolution of the image with the output's gradient as kernel and the batch as its features,
  in chunks of the batch, so that the transposed copies stay in the cache.

XLA's fast convolutions use one core each: `shard_map` gives every device, on a CPU every core, its part of the batch.
The choice is made when the program is lowered for a platform. `benchmarks/train_step.py` measures what this gains.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.sharding import PartitionSpec

from resjax.models.precision import wide

HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # the paper's [13]: deviation sqrt(2 / fan_in)
FEW_CHANNELS = 16  # XLA's fast library refuses convolutions with no more on both sides
CHUNK = 4  # images a chunk of the weight gradient

Pads = tuple[tuple[int, int], tuple[int, int]]  # zeros before and after, of height and of width


class Conv(nn.Module):
  """A convolution without bias.

  Attributes:
    channels: of the output.
    kernel: side of the kernel.
    stride: on both axes, 1 or 2.
    padding: "symmetric": kernel // 2 zeros on each side; "same": as few as possible, which at stride 2 and an even side
      are more behind than before, so that the centres are not those of an option-A shortcut.
    start: the kernel's initialisation.
  """

  channels: int
  kernel: int = 3
  stride: int = 1
  padding: Literal["symmetric", "same"] = "symmetric"
  start: nn.initializers.Initializer = HE_NORMAL

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
    """Returns [B, ceil(H / stride), ceil(W / stride), channels], computed in the type of the input."""
    kernel = self.param("kernel", self.start, (self.kernel, self.kernel, x_BxHxWxC.shape[-1], self.channels))
    if self.padding == "same":
      sides, strides = x_BxHxWxC.shape[1:3], (self.stride, self.stride)
      height, width = lax.padtype_to_pads(sides, kernel.shape[:2], strides, "SAME")
    else:
      height = width = (self.kernel // 2, self.kernel // 2)
    kernel = _whole(kernel.astype(x_BxHxWxC.dtype))
    return conv(x_BxHxWxC, kernel, self.stride, (tuple(height), tuple(width)))


def _whole(kernel: jax.Array) -> jax.Array:
  """Returns a kernel that may be split over devices as one that is not: the batch is split, so each needs all of it."""
  mesh = jax.sharding.get_abstract_mesh()
  return kernel if mesh.empty else lax.with_sharding_constraint(kernel, PartitionSpec())


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x_BxHxWxC: jax.Array, w_KxKxCxO: jax.Array, stride: int, pads: Pads) -> jax.Array:
  """Returns the convolution [B, H', W', O], H' = (H + zeros - K) // stride + 1.

  Inside `jax.set_mesh` a batch that can be split evenly over all axes of the mesh is.
  """
  return _chosen(x_BxHxWxC, w_KxKxCxO, stride, pads)


def _chosen(x: jax.Array, w: jax.Array, stride: int, pads: Pads) -> jax.Array:
  """The form for the platform."""
  return lax.platform_dependent(
    x,
    w,
    cpu=lambda x, w: _split_batch(_exactly(functools.partial(_cpu_forward, stride=stride, pads=pads)), x, w),
    default=functools.partial(plain, stride=stride, pads=pads),
  )


def _forward(x: jax.Array, w: jax.Array, stride: int, pads: Pads) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _chosen(x, w, stride, pads), (x, w)  # not `conv`: of a derivative's own derivative this is differentiated


def _backward(
  stride: int, pads: Pads, saved: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
  return lax.platform_dependent(
    *saved,
    dy,
    cpu=lambda x, w, dy: _split_batch_backward(
      _exactly(functools.partial(_cpu_backward, stride=stride, pads=pads)), x, w, dy
    ),
    default=lambda x, w, dy: jax.vjp(functools.partial(plain, stride=stride, pads=pads), x, w)[1](dy),
  )


conv.defvjp(_forward, _backward)


def plain(x: jax.Array, w: jax.Array, stride: int, pads: Pads) -> jax.Array:
  """The convolution as lax has it."""
  return lax.conv_general_dilated(x, w, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _exactly(form: Callable[..., Any]) -> Callable[..., Any]:
  """Returns the form with sums in float32 where operands and result are bfloat16, as accelerators have them."""

  def run(*arrays: jax.Array) -> Any:
    kind = arrays[0].dtype
    return jax.tree.map(lambda leaf: leaf.astype(kind), form(*(wide(array) for array in arrays)))

  return run


def _split_batch(local, x: jax.Array, w: jax.Array) -> jax.Array:
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or len(x) % mesh.size:
    return local(x, w)
  batch = PartitionSpec(mesh.axis_names)
  return jax.shard_map(local, in_specs=(batch, PartitionSpec()), out_specs=batch, check_vma=False)(x, w)


def _split_batch_backward(local, x: jax.Array, w: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or len(x) % mesh.size:
    return local(x, w, dy)
  batch, whole = PartitionSpec(mesh.axis_names), PartitionSpec()

  def summed(x: jax.Array, w: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    dx, dw = local(x, w, dy)
    return dx, lax.psum(dw, mesh.axis_names)

  return jax.shard_map(summed, in_specs=(batch, whole, batch), out_specs=(batch, whole), check_vma=False)(x, w, dy)


def _cpu_forward(x: jax.Array, w: jax.Array, stride: int, pads: Pads) -> jax.Array:
  k, _, inputs, outputs = w.shape
  if k == 1:
    x, stride = x[:, ::stride, ::stride], 1
  if min(x.shape[1:3]) < k:  # XLA exchanges image and kernel where the kernel is larger, and falls to its naive loop
    x, pads = lax.optimization_barrier(jnp.pad(x, ((0, 0), *pads, (0, 0)))), ((0, 0), (0, 0))
  width = (x.shape[2] + sum(pads[1]) - k) // stride + 1
  if max(inputs, outputs) > FEW_CHANNELS or width % 2:
    return plain(x, w, stride, pads)
  if inputs == 3:
    x = lax.optimization_barrier(jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1))))
    w = jnp.pad(w, ((0, 0), (0, 0), (0, 1), (0, 0)))
  pair = [jnp.pad(w, ((0, 0), side, (0, 0), (0, 0))) for side in ((0, stride), (stride, 0))]
  kernel = lax.optimization_barrier(jnp.concatenate(pair, -1))
  steps = (stride, 2 * stride)
  two_pixels = lax.conv_general_dilated(x, kernel, steps, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
  return two_pixels.reshape(*two_pixels.shape[:2], width, outputs)


def _cpu_backward(x: jax.Array, w: jax.Array, dy: jax.Array, stride: int, pads: Pads) -> tuple[jax.Array, jax.Array]:
  dy = lax.optimization_barrier(dy)
  if stride == 1:
    dx = _input_gradient(w, dy, pads)
  else:
    _, image_transpose = jax.vjp(lambda x: _image_phases(x, pads, len(w)), x)
    (dx,) = image_transpose(_input_gradient(_kernel_phases(w), dy, ((0, 0), (0, 0))))
  return dx, _weight_gradient(x, dy, len(w), stride, pads)


def _input_gradient(w: jax.Array, dy: jax.Array, pads: Pads) -> jax.Array:
  """Returns that at stride 1."""
  k = len(w)
  flipped = lax.optimization_barrier(w[::-1, ::-1].swapaxes(2, 3))
  (top, bottom), (left, right) = pads
  full = (k - 1 - top, k - 1 - bottom), (k - 1 - left, k - 1 - right)
  return _cpu_forward(dy, flipped, 1, full)


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


def _weight_gradient(x: jax.Array, dy: jax.Array, k: int, stride: int, pads: Pads) -> jax.Array:
  """Returns [K, K, C, O]."""
  inputs, outputs = x.shape[-1], dy.shape[-1]
  if k == 1:
    return jnp.einsum("bhwc,bhwo->co", x[:, ::stride, ::stride], dy)[None, None]
  if 4 * CHUNK * (x[0].size + dy[0].size) < k * k * inputs * outputs:
    return _weight_gradient_taps(x, dy, k, stride, pads)
  form: Callable[..., jax.Array] = _weight_gradient_rows if inputs <= FEW_CHANNELS else _weight_gradient_dilated
  chunk = CHUNK if len(x) % CHUNK == 0 else len(x)
  x, dy = (a.reshape(-1, chunk, *a.shape[1:]) for a in (x, dy))
  start = jnp.zeros((k, k, inputs, outputs), x.dtype)
  return lax.scan(lambda total, pair: (total + form(*pair, k, stride, pads), None), start, (x, dy))[0]


def _weight_gradient_taps(x: jax.Array, dy: jax.Array, k: int, stride: int, pads: Pads) -> jax.Array:
  """For small maps of many channels, where the sum over chunks would take longer than they: a product a tap."""
  x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
  reach = [stride * (side - 1) + 1 for side in dy.shape[1:3]]
  taps = [
    jnp.einsum("bhwc,bhwo->co", x[:, i : i + reach[0] : stride, j : j + reach[1] : stride], dy)
    for i in range(k)
    for j in range(k)
  ]
  return jnp.stack(taps).reshape(k, k, *taps[0].shape)


def _weight_gradient_rows(x: jax.Array, dy: jax.Array, k: int, stride: int, pads: Pads) -> jax.Array:
  """For few channels: the K shifts along the width stand above each other as rows of channels."""
  barrier = lax.optimization_barrier
  _, height, width, outputs = dy.shape
  x = barrier(jnp.pad(barrier(x.transpose(1, 3, 2, 0)), ((0, 0), (0, 0), pads[1], (0, 0))))  # [H, C, W + pads, B]
  shifts = [x[:, :, j : j + stride * (width - 1) + 1 : stride] for j in range(k)]
  rows = jnp.concatenate([shift.reshape(*x.shape[:2], -1) for shift in shifts], 1)  # [H, K * C, W' * B]
  kernel = barrier(dy.transpose(1, 2, 0, 3)).reshape(height, 1, -1, outputs)  # [H', 1, W' * B, O]
  dw = _correlate(barrier(rows)[None], kernel, pads[0], (stride, 1))
  return dw[:, :k].reshape(k, k, -1, outputs)


def _weight_gradient_dilated(x: jax.Array, dy: jax.Array, k: int, stride: int, pads: Pads) -> jax.Array:
  """For more channels: width and channels are one axis, along which the kernel's columns stand apart."""
  barrier = lax.optimization_barrier
  batch, height, _, channels = x.shape
  x = barrier(jnp.pad(barrier(x.transpose(1, 2, 3, 0)), ((0, 0), pads[1], (0, 0), (0, 0))))  # [H, W + pads, C, B]
  kernel = barrier(dy.transpose(1, 2, 0, 3))  # [H', W', B, O]
  dw = _correlate(x.reshape(1, height, -1, batch), kernel, pads[0], (stride, stride * channels))
  return dw[:, :k, : k * channels].reshape(k, k, channels, -1)


def _correlate(image: jax.Array, kernel: jax.Array, pads: tuple[int, int], dilation: tuple[int, int]) -> jax.Array:
  """Returns a convolution with the output's gradient as kernel, its rows and columns `dilation` apart.

  Where the last pixels of an image are in no window of a strided convolution, there is a row or column too many.
  """
  sides = (pads, (0, 0))
  return lax.conv_general_dilated(
    image, kernel, (1, 1), sides, rhs_dilation=dilation, dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
