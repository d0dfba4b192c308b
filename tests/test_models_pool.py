"""Max pooling: the implementation for CPUs against that of Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from resjax.models.pool import max_pool


@pytest.mark.parametrize("shape", [(2, 8, 8, 3), (2, 7, 9, 2), (1, 3, 4, 1), (2, 1, 5, 2)])
@pytest.mark.parametrize(("window", "pads"), [(3, (1, 1)), (3, (0, 1)), (2, (0, 1)), (2, (0, 0))])
def test_values_and_gradients_are_those_of_flax(shape, window, pads):
  """Random float64 values have no ties, so both choose the same values."""
  if min(shape[1:3]) + sum(pads) < window:
    pytest.skip("the image is smaller than the window")
  with jax.enable_x64(True):
    x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    assert x.dtype == jnp.float64
    found, transpose = jax.vjp(lambda x: max_pool(x, window, (pads, pads)), x)
    expected, plain_transpose = jax.vjp(lambda x: nn.max_pool(x, (window, window), (2, 2), (pads, pads)), x)
    np.testing.assert_array_equal(found, expected)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=found.shape))
    np.testing.assert_allclose(transpose(weights)[0], plain_transpose(weights)[0], rtol=1e-12)


def test_ties_of_zeros_after_a_relu_do_not_change_the_gradient():
  """Both implementations assign the gradient of tied zeros to positions where the ReLU blocks it."""
  x = jax.random.normal(jax.random.key(0), (2, 9, 9, 4)) - 1  # mostly zeros after the ReLU

  def gradient(pool):
    return jax.grad(lambda x: (pool(nn.relu(x)) ** 2).sum())(x)

  ours = gradient(lambda x: max_pool(x, 3, ((1, 1), (1, 1))))
  np.testing.assert_allclose(ours, gradient(lambda x: nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))), rtol=1e-6)
