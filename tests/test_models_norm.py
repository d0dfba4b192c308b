"""Batch normalization against that of Flax in float64: values, running statistics and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AxisType

from resjax.models.norm import BatchNorm

EPSILON, MOMENTUM = 1e-5, 0.9


def run(norm, x, dy, scale, bias, stats):
  """Returns output, updated statistics, and the gradients of x, scale and bias."""

  def apply(x, scale, bias):
    variables = {"params": {"scale": scale, "bias": bias}, "batch_stats": stats}
    return norm.apply(variables, x, mutable=["batch_stats"])

  y, transpose, updates = jax.vjp(apply, x, scale, bias, has_aux=True)
  return y, updates["batch_stats"], *transpose(dy)


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("shape", [(8, 4, 4, 16), (3, 5, 1, 7), (1, 2, 2, 3)])
def test_values_statistics_and_gradients_are_those_of_flax(shape, train):
  with jax.enable_x64(True):
    keys = jax.random.split(jax.random.key(0), 6)
    x, dy = 3 + 2 * jax.random.normal(keys[0], shape, jnp.float64), jax.random.normal(keys[1], shape, jnp.float64)
    scale, bias, mean = (jax.random.normal(key, shape[-1:], jnp.float64) for key in keys[2:5])
    stats = {"mean": mean, "var": jax.random.uniform(keys[5], shape[-1:], jnp.float64, 0.5, 2)}
    theirs = nn.BatchNorm(use_running_average=not train, momentum=MOMENTUM, epsilon=EPSILON)
    ours = BatchNorm(train, MOMENTUM, EPSILON)
    results = [run(norm, x, dy, scale, bias, stats) for norm in (ours, theirs)]
  # The same float64 sums in another order, divided by deviations around 2, differ by far less than 1e-10.
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10), *results)


def test_initial_values_are_those_of_flax():
  x = jnp.ones((2, 4, 4, 8))
  ours = BatchNorm(True, MOMENTUM, EPSILON).init(jax.random.key(0), x)
  theirs = nn.BatchNorm(use_running_average=False).init(jax.random.key(0), x)
  assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, theirs)
  assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), ours, theirs))
  assert not BatchNorm(True, MOMENTUM, EPSILON, zero_scale=True).init(jax.random.key(0), x)["params"]["scale"].any()


def test_statistics_are_over_the_global_batch():
  x = jax.random.normal(jax.random.key(0), (16, 4, 4, 8)) + jnp.arange(16.0)[:, None, None, None]
  norm = BatchNorm(True, MOMENTUM, EPSILON)
  variables = norm.init(jax.random.key(0), x)
  on_one_device = norm.apply(variables, x, mutable=["batch_stats"])
  mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
  with jax.set_mesh(mesh):
    sharded = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    over_devices = jax.jit(lambda x: norm.apply(variables, x, mutable=["batch_stats"]))(sharded)
  # Sums of float32 values in another order, for means up to 15.
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), over_devices, on_one_device)


def test_statistics_of_parts_of_a_batch_are_those_of_smaller_batches():
  x = jax.random.normal(jax.random.key(0), (8, 4, 4, 3)) + jnp.arange(8.0)[:, None, None, None]
  norm = BatchNorm(True, MOMENTUM, EPSILON, images=4)
  variables = norm.init(jax.random.key(0), x)
  y, updates = norm.apply(variables, x, mutable=["batch_stats"])
  whole = BatchNorm(True, MOMENTUM, EPSILON)
  halves = [whole.apply(variables, half, mutable=["batch_stats"]) for half in (x[:4], x[4:])]
  # The same sums over the same images are fused differently.
  np.testing.assert_allclose(y, jnp.concatenate([half for half, _ in halves]), rtol=1e-5, atol=1e-5)
  averaged = jax.tree.map(lambda a, b: (a + b) / 2, *(stats["batch_stats"] for _, stats in halves))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), updates["batch_stats"], averaged)
