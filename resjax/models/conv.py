"""The convolution: lax's on accelerators; on a CPU, forms of it that are fast there, also inside loops.

The form is chosen when a program is lowered for a platform. `benchmarks/train_step.py` measures the gain.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from flax import linen as nn
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.custom_derivatives import linear_call
from jax.sharding import PartitionSpec

from resjax.models import conv_cpu
from resjax.models.block_scan import CONVOLUTION
from resjax.models.onednn import Pads
from resjax.models.precision import at_least_float32

HE_NORMAL = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # std = sqrt(2 / fan_in), the paper's [13]


class Conv(nn.Module):
  """A convolution without bias.

  Attributes:
    channels: Channels of the output.
    kernel: Side of the kernel.
    stride: Stride of both axes, 1 or 2.
    padding: "symmetric": kernel // 2 zeros on each side. "same": as few zeros as possible; at stride 2 and an even
      side there are more after than before the image, so that the centres differ from those of an option-A shortcut.
    start: Initializer of the kernel.
  """

  channels: int
  kernel: int = 3
  stride: int = 1
  padding: Literal["symmetric", "same"] = "symmetric"
  start: nn.initializers.Initializer = HE_NORMAL

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array) -> jax.Array:
    """Returns [B, ceil(H / stride), ceil(W / stride), channels] in the dtype of the input."""
    kernel = self.param("kernel", self.start, (self.kernel, self.kernel, x_BxHxWxC.shape[-1], self.channels))
    if self.padding == "same":
      sides, strides = x_BxHxWxC.shape[1:3], (self.stride, self.stride)
      height, width = lax.padtype_to_pads(sides, kernel.shape[:2], strides, "SAME")
    else:
      height = width = (self.kernel // 2, self.kernel // 2)
    kernel = _replicated(kernel.astype(x_BxHxWxC.dtype))
    y = conv(x_BxHxWxC, kernel, self.stride, (tuple(height), tuple(width)))
    return checkpoint_name(y, CONVOLUTION)


def _replicated(kernel: jax.Array) -> jax.Array:
  """Returns a possibly sharded kernel replicated on all devices, because each convolves its part of the batch."""
  mesh = jax.sharding.get_abstract_mesh()
  return kernel if mesh.empty else lax.with_sharding_constraint(kernel, PartitionSpec())


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(x_BxHxWxC: jax.Array, w_KxKxCxO: jax.Array, stride: int, pads: Pads) -> jax.Array:
  """Returns the convolution [B, H', W', O], H' = (H + padding - K) // stride + 1.

  Inside `jax.set_mesh`, the batch is split over all axes of the mesh if they divide it evenly.

  Args:
    x_BxHxWxC: Images.
    w_KxKxCxO: Kernel, in the dtype of the images.
    stride: Stride of both axes.
    pads: Zero padding before and after the images, of height and of width.
  """
  return _products(x_BxHxWxC.shape[1:3], len(w_KxKxCxO), stride, pads).output(x_BxHxWxC, w_KxKxCxO)


def _forward(x: jax.Array, w: jax.Array, stride: int, pads: Pads) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _products(x.shape[1:3], len(w), stride, pads).output(x, w), (x, w)


def _backward(
  stride: int, pads: Pads, saved: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
  x, w = saved
  products = _products(x.shape[1:3], len(w), stride, pads)
  return products.input_gradient(w, dy), products.weight_gradient(x, dy)


conv.defvjp(_forward, _backward)

Product = Callable[..., jax.Array]  # of two arrays


class Products(NamedTuple):
  """The bilinear functions of a convolution: y = output(x, w), dx = input_gradient(w, dy), dw = weight_gradient(x, dy).

  The derivatives of each are expressed by the others, so they suffice for derivatives of any order and mode.
  """

  output: Product
  input_gradient: Product
  weight_gradient: Product


@functools.cache
def _products(sides: tuple[int, int], k: int, stride: int, pads: Pads) -> Products:
  """Returns the products for images of these sides and a kernel of side k."""
  common = {"stride": stride, "pads": pads}
  of_input, of_kernel = common | {"sides": sides}, common | {"k": k}
  products = Products(
    jax.custom_jvp(_on_platform(conv_cpu.forward, plain, "xw", "x", common)),
    jax.custom_jvp(_on_platform(conv_cpu.input_gradient, _plain_input_gradient, "wx", "x", of_input)),
    jax.custom_jvp(_on_platform(conv_cpu.weight_gradient, _plain_weight_gradient, "xx", "w", of_kernel)),
  )
  output, input_gradient, weight_gradient = products
  _set_derivatives(output, input_gradient, weight_gradient)
  _set_derivatives(input_gradient, lambda dy, dx: weight_gradient(dx, dy), lambda w, dx: output(dx, w))
  _set_derivatives(weight_gradient, lambda dy, dw: input_gradient(dw, dy), lambda x, dw: output(x, dw))
  return products


def _set_derivatives(product: Any, of_first: Product, of_second: Product) -> None:
  """Defines the derivatives of a bilinear function.

  Args:
    product: The function of two arguments, a `jax.custom_jvp`.
    of_first: Returns the gradient of the first argument, given the second and the gradient of the result.
    of_second: Returns the gradient of the second argument, given the first and the gradient of the result.
  """

  @product.defjvp
  def jvp(arguments: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    (a, b), (da, db) = arguments, tangents
    along_first = linear_call(lambda b, da: product(da, b), of_first, b, da)
    along_second = linear_call(product, of_second, a, db)
    return product(a, b), along_first + along_second


def plain(x: jax.Array, w: jax.Array, stride: int, pads: Pads) -> jax.Array:
  """Returns the convolution as one operation of lax."""
  return lax.conv_general_dilated(x, w, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _plain_input_gradient(w: jax.Array, dy: jax.Array, sides: tuple[int, int], stride: int, pads: Pads) -> jax.Array:
  x = jax.ShapeDtypeStruct((len(dy), *sides, w.shape[2]), dy.dtype)
  return jax.linear_transpose(lambda x: plain(x, w, stride, pads), x)(dy)[0]


def _plain_weight_gradient(x: jax.Array, dy: jax.Array, k: int, stride: int, pads: Pads) -> jax.Array:
  w = jax.ShapeDtypeStruct((k, k, x.shape[-1], dy.shape[-1]), dy.dtype)
  return jax.linear_transpose(lambda w: plain(x, w, stride, pads), w)(dy)[0]


def _on_platform(cpu: Product, default: Product, operands: str, result: str, settings: dict[str, Any]) -> Product:
  """Returns a product whose implementation depends on the platform that a program is lowered for.

  Args:
    cpu: Implementation for a CPU. oneDNN uses one core, so each device of a mesh computes its part of the batch.
    default: Implementation for other platforms.
    operands: Kind of each operand: "x", an array with a batch axis, or "w", a kernel.
    result: Kind of the result, likewise.
    settings: Further keyword arguments of both implementations.
  """

  def on_cpu(*arrays: jax.Array) -> jax.Array:
    mesh = jax.sharding.get_abstract_mesh()
    batch = next(len(array) for array, kind in zip(arrays, operands, strict=True) if kind == "x")
    # bfloat16 operands are summed in float32, as on accelerators.
    local = lambda *parts: cpu(*map(at_least_float32, parts), **settings).astype(arrays[0].dtype)  # noqa: E731
    if mesh.empty or batch % mesh.size:
      return local(*arrays)
    specs = {"x": PartitionSpec(mesh.axis_names), "w": PartitionSpec()}
    summed = local if result == "x" else lambda *parts: lax.psum(local(*parts), mesh.axis_names)
    of_operands = tuple(specs[kind] for kind in operands)
    return jax.shard_map(summed, in_specs=of_operands, out_specs=specs[result], check_vma=False)(*arrays)

  return lambda *arrays: lax.platform_dependent(*arrays, cpu=on_cpu, default=functools.partial(default, **settings))
