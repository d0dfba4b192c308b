"""The CPU's forms of the convolution against lax's own, in float64."""

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


# Of the largest value. Sums of the same products in another order: some thousand roundings in float64, some ten, as
# they add up like a random walk, in float32, where what is compared with is in float64.
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}


def arrays(shape, kernel, outputs, dtype):
  """Images and a kernel, the same numbers in any precision."""
  x_key, w_key = jax.random.split(jax.random.key(0))
  x = jax.random.normal(x_key, shape, jnp.float32).astype(dtype)
  return x, jax.random.normal(w_key, (kernel, kernel, shape[-1], outputs), jnp.float32).astype(dtype)


def values_and_gradients(function, shape, kernel, outputs, dtype="float64"):
  y, transpose = jax.vjp(jax.jit(function), *arrays(shape, kernel, outputs, dtype))
  return y, *transpose(jax.random.normal(jax.random.key(1), y.shape, jnp.float32).astype(dtype))


def assert_equal_to_rounding(ours, theirs):
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE[str(one.dtype)] * np.abs(other).max())


@pytest.fixture(params=["xla, float64", "xla, float32", "onednn, float32"])
def dtype(request, monkeypatch):
  """The type of the arrays; the library is made to take convolutions of every size."""
  library, dtype = request.param.split(", ")
  if library == "onednn" and not onednn.available():
    pytest.skip("this JAX has no oneDNN")
  monkeypatch.setattr(conv_cpu, "ONEDNN_MACS", 0 if library == "onednn" else 2**62)
  return dtype


TRIED = [
  *((case, "symmetric") for case in CASES),
  *((case, "same") for case in CASES if "stride 2" in case),
  *((case, "none") for case in ("few channels", "odd sides", "7x7, stride 2")),
]


@pytest.mark.parametrize(("case", "padding"), TRIED)
def test_forms_equal_the_plain_convolution(case, padding, dtype):
  shape, kernel, outputs, stride = CASES[case]
  if padding == "same":
    height, width = jax.lax.padtype_to_pads(shape[1:3], (kernel, kernel), (stride, stride), "SAME")
    pads = (tuple(height), tuple(width))
  else:
    pads = (((kernel // 2, kernel // 2) if padding == "symmetric" else (0, 0)),) * 2
  with jax.enable_x64(True):
    plain = values_and_gradients(functools.partial(conv.plain, stride=stride, pads=pads), shape, kernel, outputs)
  with jax.enable_x64(dtype == "float64"):
    ours = values_and_gradients(lambda x, w: conv.conv(x, w, stride, pads), shape, kernel, outputs, dtype)
  assert_equal_to_rounding(ours, plain)


@pytest.mark.parametrize("stride", [1, 2])
def test_second_derivatives_in_both_modes(stride, dtype):
  """Products with the Hessian of a sum of squares, forward over reverse and reverse over reverse."""

  def products(convolution, dtype):
    x, w = arrays((4, 6, 7, 8), 3, 12, dtype)
    vectors = jnp.cos(x), jnp.sin(w)

    def slopes(x, w):
      return jax.grad(lambda x, w: (convolution(x, w) ** 2).sum(), (0, 1))(x, w)

    def along(x, w):
      return sum((slope * vector).sum() for slope, vector in zip(slopes(x, w), vectors, strict=True))

    forward = jax.jit(lambda x, w: jax.jvp(slopes, (x, w), vectors)[1])(x, w)
    return *forward, *jax.jit(jax.grad(along, (0, 1)))(x, w)

  pads = ((1, 1), (1, 1))
  with jax.enable_x64(True):
    plain = products(functools.partial(conv.plain, stride=stride, pads=pads), "float64")
  with jax.enable_x64(dtype == "float64"):
    ours = products(lambda x, w: conv.conv(x, w, stride, pads), dtype)
  assert_equal_to_rounding(ours, plain)


def test_several_networks_at_once(dtype):
  """vmap over images and kernels, as several runs as one program have them."""
  with jax.enable_x64(dtype == "float64"):
    x, w = arrays((3 * 2, 6, 6, 8), 3, 12, dtype)
    w = jnp.stack([w, 2 * w, -w])
    function = lambda x, w: jax.grad(lambda w: (conv.conv(x, w, 1, ((1, 1), (1, 1))) ** 2).sum())(w)  # noqa: E731
    batched = jax.jit(jax.vmap(function))(x.reshape(3, 2, 6, 6, 8), w)
    apart = jnp.stack([jax.jit(function)(*pair) for pair in zip(x.reshape(3, 2, 6, 6, 8), w, strict=True)])
  assert_equal_to_rounding([batched], [apart])


def test_convolutions_in_a_program_of_bfloat16_sum_in_float32():
  x, w = arrays((2, 4, 4, 64), 3, 8, jnp.bfloat16)
  pads = ((1, 1), (1, 1))
  y = jax.jit(lambda x, w: conv.conv(x, w, 1, pads))(x, w)
  exact = conv.plain(x.astype(jnp.float32), w.astype(jnp.float32), 1, pads)
  assert y.dtype == jnp.bfloat16
  np.testing.assert_allclose(y.astype(jnp.float32), exact, rtol=2**-8, atol=1e-3)  # one rounding to 8 bits


def test_a_batch_split_over_a_mesh_gives_the_same():
  function = lambda x, w: conv.conv(x, w, 1, ((1, 1), (1, 1)))  # noqa: E731
  with jax.enable_x64(True):
    alone = values_and_gradients(function, (16, 8, 8, 16), 3, 16)
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    assert mesh.size > 1
    with jax.set_mesh(mesh):
      split = values_and_gradients(function, (16, 8, 8, 16), 3, 16)
  assert_equal_to_rounding(split, alone)


def test_accelerators_get_the_plain_convolution():
  """Lowered for a GPU, the program has one convolution forward and two backward, and no loop."""
  function = jax.jit(jax.grad(lambda w, x: conv.conv(x, w, 1, ((1, 1), (1, 1))).sum()))
  shapes = jax.ShapeDtypeStruct((3, 3, 16, 16), jnp.float32), jax.ShapeDtypeStruct((16, 8, 8, 16), jnp.float32)
  for platform, loops in (("cuda", 0), ("tpu", 0), ("cpu", 1)):
    text = function.trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.while") == loops, platform
