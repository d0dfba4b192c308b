"""Activation functions, and the variances of kernels and biases with which deep networks preserve signals."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from scipy import optimize

from resjax import config

LEAKY_SLOPE = 0.01  # negative slope of model.activation = "leaky_relu"
TAILORED_CORRELATION = 0.9  # correlation of two uncorrelated inputs after all layers (Zhang et al. 2022)
_QUADRATURE_POINTS = 100


def activation(net: config.Model) -> Callable[[jax.Array], jax.Array]:
  """Returns the activation function of a network, elementwise."""
  if net.activation == "tailored":
    return functools.partial(_scaled_leaky_relu, slope=tailored_slope(composed_layers(net)))
  if net.activation == "leaky_relu":
    return functools.partial(nn.leaky_relu, negative_slope=LEAKY_SLOPE)
  return {"relu": nn.relu, "sigmoid": nn.sigmoid, "tanh": nn.tanh}[net.activation]


def _scaled_leaky_relu(x: jax.Array, slope: float) -> jax.Array:
  """Returns a leaky ReLU scaled so that its mean square of a standard normal input is 1.

  Its derivative at 0 is 1, the root mean square of the two slopes. In networks without biases at the start, the pixels
  with which crops are padded stay exactly 0, so that the derivative of all units there would be the larger slope:
  gradients would grow by that factor in each layer, in 54 layers by a million.
  """
  scale = (2 / (1 + slope**2)) ** 0.5
  return jnp.where(x > 0, scale * x, jnp.where(x < 0, scale * slope * x, x))


def composed_layers(net: config.Model) -> int:
  """Returns the number of weighted layers in the blocks of a network."""
  return net.structure.total_blocks * net.structure.layers_per_block


def critical_variances(net: config.Model) -> tuple[float, float]:
  """Returns fan_in times the variance of kernels, and the variance of biases, that preserve the scale of signals.

  For tanh they are those of `critical_tanh`; for all other activations the biases are 0.
  """
  if net.activation == "tanh":
    return critical_tanh(composed_layers(net))
  slope = {"relu": 0.0, "leaky_relu": LEAKY_SLOPE, "tailored": 1.0}[net.activation]
  return 2 / (1 + slope**2), 0.0


@functools.cache
def critical_tanh(layers: int) -> tuple[float, float]:
  """Returns the variances of weights (times fan_in) and of biases at criticality for tanh (Xiao et al. 2018).

  The mean square of the preactivations stays at q = 1 / layers: weight variance 1 / E[phi'(sqrt(q) z)^2], bias variance
  q - weight variance E[phi(sqrt(q) z)^2], with z standard normal.

  Args:
    layers: Number of composed layers.
  """
  q = 1 / layers
  points, weights = np.polynomial.hermite_e.hermegauss(_QUADRATURE_POINTS)
  weights /= weights.sum()
  values = np.tanh(np.sqrt(q) * points)
  weight_variance = 1 / float(weights @ (1 - values**2) ** 2)
  return weight_variance, q - weight_variance * float(weights @ values**2)


@functools.cache
def tailored_slope(layers: int) -> float:
  """Returns the negative slope of the tailored leaky ReLU (Zhang et al. 2022, arXiv:2203.08120).

  With this slope two uncorrelated inputs have the correlation `TAILORED_CORRELATION` after all layers. With few layers
  the correlation stays below that even with ReLU; the slope is then 0.

  Args:
    layers: Number of composed layers.
  """

  def excess(slope: float) -> float:
    return composed_correlation(slope, layers) - TAILORED_CORRELATION

  return 0.0 if excess(0.0) <= 0 else float(optimize.brentq(excess, 0.0, 1.0, xtol=1e-14))


def composed_correlation(slope: float, layers: int) -> float:
  """Returns the correlation of two uncorrelated inputs after layers of leaky ReLU, C^layers(0) in Zhang et al. 2022.

  Args:
    slope: Negative slope of the leaky ReLU.
    layers: Number of layers.
  """
  c = 0.0
  for _ in range(layers):
    relu = (np.sqrt(max(1 - c * c, 0.0)) + (np.pi - np.arccos(min(c, 1.0))) * c) / np.pi
    c = ((1 - slope) ** 2 * relu + 2 * slope * c) / (1 + slope**2)
  return float(c)
