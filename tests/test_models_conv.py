"""The CPU's forms of the convolution against lax's own, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from resjax.models import conv

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


def values_and_gradients(function, shape, kernel, outputs):
  x_key, w_key, y_key = jax.random.split(jax.random.key(0), 3)
  x = jax.random.normal(x_key, shape, jnp.float64)
  w = jax.random.normal(w_key, (kernel, kernel, shape[-1], outputs), jnp.float64)
  y, transpose = jax.vjp(jax.jit(function), x, w)
  return y, *transpose(jax.random.normal(y_key, y.shape, jnp.float64))


def assert_equal_to_rounding(ours, theirs):
  # Sums of the same float64 products in another order: 1e-12 of the largest value is some thousand roundings.
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-12 * np.abs(other).max())


TRIED = [
  *((case, "symmetric") for case in CASES),
  *((case, "same") for case in CASES if "stride 2" in case),
  *((case, "none") for case in ("few channels", "odd sides", "7x7, stride 2")),
]


@pytest.mark.parametrize(("case", "padding"), TRIED)
def test_forms_equal_the_plain_convolution(case, padding):
  shape, kernel, outputs, stride = CASES[case]
  with jax.enable_x64(True):
    if padding == "same":
      height, width = jax.lax.padtype_to_pads(shape[1:3], (kernel, kernel), (stride, stride), "SAME")
      pads = (tuple(height), tuple(width))
    else:
      pads = (((kernel // 2, kernel // 2) if padding == "symmetric" else (0, 0)),) * 2
    ours = values_and_gradients(lambda x, w: conv.conv(x, w, stride, pads), shape, kernel, outputs)
    plain = values_and_gradients(functools.partial(conv.plain, stride=stride, pads=pads), shape, kernel, outputs)
  assert_equal_to_rounding(ours, plain)


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
  shapes = jax.ShapeDtypeStruct((3, 3, 16, 16), jnp.float32), jax.ShapeDtypeStruct((8, 8, 8, 16), jnp.float32)
  for platform, loops in (("cuda", 0), ("tpu", 0), ("cpu", 1)):
    text = function.trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
    assert text.count("stablehlo.while") == loops, platform
