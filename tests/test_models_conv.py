"""Implementations of the convolution for CPUs against `lax.conv_general_dilated` in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from resjax.models import conv, conv_cpu, onednn

CASES = {
  "few channels": ((8, 8, 8, 16), 3, 16, 1),
  "more channels": ((8, 6, 6, 32), 3, 32, 1),
  "to more": ((4, 8, 8, 3), 3, 16, 1),
  "odd sides": ((4, 7, 9, 16), 3, 16, 1),
  "odd batch": ((5, 8, 8, 16), 3, 32, 1),
  "one image": ((1, 4, 4, 16), 3, 16, 1),
  "stride 2": ((4, 8, 8, 16), 3, 32, 2),
  "stride 2, odd sides": ((4, 7, 9, 16), 3, 32, 2),
  "stride 2, even and odd": ((3, 8, 5, 32), 3, 64, 2),
  "one pixel": ((4, 1, 1, 16), 3, 16, 2),
  "small maps of many channels": ((4, 2, 3, 64), 3, 96, 1),
  "small maps, stride 2": ((4, 4, 4, 64), 3, 128, 2),
  "1x1": ((4, 8, 8, 64), 1, 16, 1),
  "1x1, stride 2": ((4, 8, 7, 16), 1, 32, 2),
  "7x7": ((2, 12, 12, 3), 7, 8, 1),
  "7x7, stride 2": ((2, 14, 13, 3), 7, 64, 2),
  "5x5, stride 2": ((2, 9, 8, 20), 5, 24, 2),
}


# Relative to the largest value. Sums of the same products in another order differ by about a thousand roundings between
# two float64 results, and by about ten, which add up like a random walk, between a float32 and a float64 result.
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}


def arrays(shape, kernel, outputs, dtype):
  """Returns random images and a kernel, with the same values in every precision."""
  x_key, w_key = jax.random.split(jax.random.key(0))
  x = jax.random.normal(x_key, shape, jnp.float32).astype(dtype)
  return x, jax.random.normal(w_key, (kernel, kernel, shape[-1], outputs), jnp.float32).astype(dtype)


def values_and_gradients(function, shape, kernel, outputs, dtype="float64"):
  """Returns the output of a convolution and its gradients by images and kernel."""
  y, transpose = jax.vjp(jax.jit(function), *arrays(shape, kernel, outputs, dtype))
  return y, *transpose(jax.random.normal(jax.random.key(1), y.shape, jnp.float32).astype(dtype))


def assert_equal_to_rounding(ours, theirs):
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[str(one.dtype)] * np.abs(other).max())


@pytest.fixture(params=["xla, float64", "xla, float32", "onednn, float32"])
def dtype(request, monkeypatch):
  """Returns the dtype of the arrays; "onednn" selects oneDNN for convolutions of every size, "xla" for none."""
  library, dtype = request.param.split(", ")
  if library == "onednn" and not onednn.available():
    pytest.skip("this JAX has no oneDNN")
  monkeypatch.setattr(conv_cpu, "ONEDNN_MACS", 0 if library == "onednn" else 2**62)
  return dtype


PADDED_CASES = [
  *((case, "symmetric") for case in CASES),
  *((case, "same") for case in CASES if "stride 2" in case),
  *((case, "none") for case in ("few channels", "odd sides", "7x7, stride 2")),
]


def padding_of(case, padding):
  """Returns the explicit padding of both axes."""
  shape, kernel, _, stride = CASES[case]
  if padding == "same":
    height, width = jax.lax.padtype_to_pads(shape[1:3], (kernel, kernel), (stride, stride), "SAME")
    return tuple(height), tuple(width)
  return (((kernel // 2, kernel // 2) if padding == "symmetric" else (0, 0)),) * 2


@functools.cache  # it is the same for all dtypes
def reference(case, padding):
  """Returns values and gradients of the convolution of lax in float64."""
  shape, kernel, outputs, stride = CASES[case]
  with jax.enable_x64(True):
    plain = functools.partial(conv.plain, stride=stride, pads=padding_of(case, padding))
    return values_and_gradients(plain, shape, kernel, outputs)


@pytest.mark.parametrize(("case", "padding"), PADDED_CASES)
def test_values_and_gradients_are_those_of_lax(case, padding, dtype):
  (shape, kernel, outputs, stride), pads = CASES[case], padding_of(case, padding)
  with jax.enable_x64(dtype == "float64"):
    ours = values_and_gradients(lambda x, w: conv.conv(x, w, stride, pads), shape, kernel, outputs, dtype)
  assert_equal_to_rounding(ours, reference(case, padding))


def hessian_vector_products(convolution, dtype):
  """Returns products with the Hessian of a sum of squares, forward over reverse and reverse over reverse."""
  x, w = arrays((4, 6, 7, 8), 3, 12, dtype)
  vectors = jnp.cos(x), jnp.sin(w)

  def gradient(x, w):
    return jax.grad(lambda x, w: (convolution(x, w) ** 2).sum(), (0, 1))(x, w)

  def directional_derivative(x, w):
    return sum((own * vector).sum() for own, vector in zip(gradient(x, w), vectors, strict=True))

  forward = jax.jit(lambda x, w: jax.jvp(gradient, (x, w), vectors)[1])(x, w)
  return *forward, *jax.jit(jax.grad(directional_derivative, (0, 1)))(x, w)


@functools.cache  # it is the same for all dtypes
def reference_products(stride):
  """Returns the Hessian-vector products of the convolution of lax in float64."""
  with jax.enable_x64(True):
    return hessian_vector_products(functools.partial(conv.plain, stride=stride, pads=((1, 1), (1, 1))), "float64")


@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivatives_are_those_of_lax(stride, dtype):
  with jax.enable_x64(dtype == "float64"):
    ours = hessian_vector_products(lambda x, w: conv.conv(x, w, stride, ((1, 1), (1, 1))), dtype)
  assert_equal_to_rounding(ours, reference_products(stride))


def test_vmap_over_images_and_kernels_is_a_loop_over_them(dtype):
  """Several runs in one program are executed in this way."""
  with jax.enable_x64(dtype == "float64"):
    x, w = arrays((3 * 2, 6, 6, 8), 3, 12, dtype)
    w = jnp.stack([w, 2 * w, -w])
    function = lambda x, w: jax.grad(lambda w: (conv.conv(x, w, 1, ((1, 1), (1, 1))) ** 2).sum())(w)  # noqa: E731
    batched = jax.jit(jax.vmap(function))(x.reshape(3, 2, 6, 6, 8), w)
    separate = jnp.stack([jax.jit(function)(*pair) for pair in zip(x.reshape(3, 2, 6, 6, 8), w, strict=True)])
  assert_equal_to_rounding([batched], [separate])


def test_bfloat16_convolutions_accumulate_in_float32():
  x, w = arrays((2, 4, 4, 64), 3, 8, jnp.bfloat16)
  pads = ((1, 1), (1, 1))
  y = jax.jit(lambda x, w: conv.conv(x, w, 1, pads))(x, w)
  exact = conv.plain(x.astype(jnp.float32), w.astype(jnp.float32), 1, pads)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-3)  # one rounding to 8 bits


def test_a_batch_sharded_over_a_mesh_gives_the_same_results():
  function = lambda x, w: conv.conv(x, w, 1, ((1, 1), (1, 1)))  # noqa: E731
  with jax.enable_x64(True):
    on_one_device = values_and_gradients(function, (16, 8, 8, 16), 3, 16)
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    assert mesh.size > 1
    with jax.set_mesh(mesh):
      sharded = values_and_gradients(function, (16, 8, 8, 16), 3, 16)
  assert_equal_to_rounding(sharded, on_one_device)


def test_programs_for_accelerators_contain_the_convolution_of_lax():
  """Only a program for CPUs has a loop."""
  function = jax.jit(jax.grad(lambda w, x: conv.conv(x, w, 1, ((1, 1), (1, 1))).sum()))
  shapes = jax.ShapeDtypeStruct((3, 3, 16, 16), jnp.float32), jax.ShapeDtypeStruct((16, 8, 8, 16), jnp.float32)
  for platform, loops in (("cuda", 0), ("tpu", 0), ("cpu", 1)):
    text = function.trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.while") == loops, platform
