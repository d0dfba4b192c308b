"""Activation functions and critical initializations, against published values and simulated signals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import models
from resjax.config import Model, freeze
from resjax.models import activations, initializers
from resjax.settings import ConfigError
from tests.sample_networks import initial_variables

# Negative slope and output scale of the authors' library (dks 0.1.2, method TAT, c_val_0_target 0.9) by number of
# composed layers.
DKS = {
  18: (0.14613544940948486, 1.3993505314904477),
  30: (0.3026942014694214, 1.3535630925908066),
  54: (0.4478049576282501, 1.290709835532195),
  108: (0.5839585065841675, 1.2212354102937988),
}


def plain(depth=20, **settings):
  """Returns a plain architecture without normalization and with the given settings."""
  return freeze({"model": {"depth": depth, "kind": "plain", "norm": "none", **settings}}).model


@pytest.mark.parametrize("layers", [18, 30, 54, 108, 1200])
def test_the_tailored_slope_gives_the_target_correlation(layers):
  assert activations.composed_correlation(activations.tailored_slope(layers), layers) == pytest.approx(0.9, abs=1e-6)


def test_the_composed_correlation_is_that_of_wide_random_layers():
  rng = np.random.default_rng(0)
  x = rng.standard_normal((2, 3000))
  correlation = x[0] @ x[1] / np.sqrt((x[0] @ x[0]) * (x[1] @ x[1]))
  for _ in range(2):
    x = x @ rng.standard_normal((3000, 3000)) / np.sqrt(3000)
    x = np.where(x > 0, x, 0.3 * x)
  c = x[0] @ x[1] / np.sqrt((x[0] @ x[0]) * (x[1] @ x[1]))
  assert abs(correlation) < 0.05
  assert c == pytest.approx(activations.composed_correlation(0.3, 2), abs=0.06)  # three standard errors of 3000 units


@pytest.mark.parametrize("layers", DKS)
def test_the_tailored_activation_has_the_parameters_of_dks(layers):
  slope, scale = DKS[layers]
  assert activations.tailored_slope(layers) == pytest.approx(slope, abs=1e-6)
  function = activations.activation(plain(layers + 2, activation="tailored", initialization="delta"))
  np.testing.assert_allclose(function(jnp.array([1.0, -1.0])), [scale, -slope * scale], rtol=1e-5)


@pytest.mark.parametrize("layers", [18, 54, 1200])
def test_the_tailored_activation_preserves_gradients_at_exactly_zero(layers):
  """Padded pixels of a crop are 0 in all layers; with the larger slope, gradients there grew by 1e6 in 54 layers."""
  function = activations.activation(plain(layers + 2, activation="tailored", initialization="delta"))
  slopes = jax.vmap(jax.grad(function))(jnp.array([-1.0, 0.0, 1.0]))
  assert float(function(jnp.zeros(()))) == 0
  assert float(slopes[1]) == 1
  assert float(jnp.mean(slopes[::2] ** 2)) == pytest.approx(1, abs=1e-6)


def test_the_tailored_activation_is_nearly_linear_for_1200_layers_and_relu_for_few():
  assert activations.tailored_slope(1200) == pytest.approx(0.8570, abs=5e-5)
  assert activations.tailored_slope(6) == 0.0


@pytest.mark.parametrize(("layers", "weights"), [(16, 1.11538), (108, 1.01827), (10000, 1.00020)])
def test_critical_variances_of_tanh_are_the_published_ones(layers, weights):
  weight_variance, bias_variance = activations.critical_tanh(layers)
  assert weight_variance == pytest.approx(weights, abs=5e-6)
  # q is a fixed point, tested independently of the quadrature by a sum over a fine grid.
  z = np.linspace(-12, 12, 200_001)
  density = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
  q = 1 / layers
  assert weight_variance * (np.tanh(np.sqrt(q) * z) ** 2 @ density) + bias_variance == pytest.approx(q, rel=1e-6)
  assert bias_variance > 0


@pytest.mark.parametrize("initialization", ["orthogonal", "delta"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh"])
@pytest.mark.parametrize("shape", [(3, 3, 8, 8), (3, 3, 3, 16), (1, 1, 16, 8)])
def test_kernels_are_scaled_orthogonal_matrices(initialization, activation, shape):
  net = plain(activation=activation, initialization=initialization)
  variance = {"relu": 2.0, "leaky_relu": 2 / (1 + 0.01**2), "tanh": activations.critical_tanh(18)[0]}[activation]
  kernel = np.asarray(initializers.kernel(net)(jax.random.key(0), shape))
  if initialization == "delta":
    side = shape[0]
    assert not np.delete(kernel.reshape(side**2, -1), side**2 // 2, axis=0).any()
    kernel = kernel[side // 2, side // 2]
  matrix = kernel.reshape(-1, shape[-1])
  rows, columns = matrix.shape
  if columns > rows:  # orthonormal rows times sqrt(out / in)
    matrix = matrix.T / np.sqrt(columns / rows)
  np.testing.assert_allclose(matrix.T @ matrix, variance * np.eye(matrix.shape[1]), atol=1e-4)


def test_scanned_layers_have_different_initial_kernels_and_biases():
  net = plain(8, blocks=(3,), width=8, activation="tanh", initialization="delta")
  params = initial_variables(net)["params"]
  assert not np.delete(np.asarray(params["stem"]["conv"]["kernel"]).reshape(9, -1), 4, axis=0).any()
  rest = params["stage1"]["rest"]
  kernels, biases = np.asarray(rest["conv1"]["kernel"])[:, 1, 1], np.asarray(rest["norm2"]["bias"])
  assert np.abs(kernels[0] - kernels[1]).max() > 0.1
  deviation = activations.critical_tanh(6)[1] ** 0.5
  assert np.std(biases) == pytest.approx(deviation, rel=0.7)  # four standard errors with 16 values
  assert not np.asarray(initializers.bias(plain(initialization="delta"))(jax.random.key(0), (8,))).any()


def test_critical_initializations_preserve_signals_in_deep_plain_networks():
  """With He's initialization the zero padding attenuates signals in 48 layers."""

  def logits(**settings):
    net = plain(50, blocks=(24,), width=8, **settings)
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    return np.asarray(models.build(net, 10).apply(initial_variables(net), images, train=False))

  he = logits().std()
  assert he < 0.01
  for activation in ("tailored", "tanh"):
    assert 10 * he < logits(activation=activation, initialization="delta").std() < 10


@pytest.mark.parametrize(
  ("settings", "says"),
  [
    ({"activation": "tailored", "kind": "residual"}, "model.activation = 'tailored': needs model.kind = 'plain'"),
    (
      {"activation": "tailored"},
      "model.activation = 'tailored': needs model.initialization = 'orthogonal' or 'delta'",
    ),
    (
      {"activation": "sigmoid", "initialization": "delta"},
      "model.initialization = 'delta': must be he or depth with model.activation = 'sigmoid'",
    ),
    (
      {"kind": "residual", "shortcut": "fixup", "initialization": "orthogonal"},
      "model.initialization = 'orthogonal': must be he with model.shortcut = 'fixup', which has its own",
    ),
  ],
)
def test_undefined_combinations_of_settings_are_refused(settings, says):
  with pytest.raises(ConfigError) as refused:
    plain(**settings)
  assert str(refused.value) == says


def test_leaky_relu_and_tanh_have_the_standard_definitions():
  x = jnp.array([-2.0, 0.5])
  np.testing.assert_allclose(activations.activation(Model(activation="leaky_relu"))(x), [-0.02, 0.5], rtol=1e-6)
  np.testing.assert_allclose(activations.activation(Model(activation="tanh"))(x), np.tanh([-2.0, 0.5]), rtol=1e-6)
  assert jax.grad(activations.activation(Model(activation="leaky_relu")))(-1.0) == pytest.approx(0.01)
