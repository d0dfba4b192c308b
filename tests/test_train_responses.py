"""Layer responses of deep networks against a forward pass that stores all activations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import models
from resjax.config import Model, Responses
from resjax.data.augment import Statistics
from resjax.train import responses
from tests.sample_networks import layer_table, random_variables, unstacked

IMAGES = np.random.default_rng(1).integers(0, 256, (32, 8, 8, 3), np.uint8)
STATISTICS = Statistics(np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32))


@functools.partial(jax.jit, static_argnums=1)
def _convolution(x, stride, kernel):
  numbers = ("NHWC", "HWIO", "NHWC")
  return jax.lax.conv_general_dilated(x, kernel, (stride, stride), ((1, 1), (1, 1)), dimension_numbers=numbers)


@jax.jit
def _normalized(x, params):
  centred = x - x.mean((0, 1, 2))
  return centred * jax.lax.rsqrt((centred**2).mean((0, 1, 2)) + 1e-5) * params["scale"] + params["bias"]


def stored_activations(params, images):
  """Returns the outputs of the norms of a residual network with option A by the names of their convolutions."""
  x = (images / np.float32(255) - STATISTICS.mean) / STATISTICS.std
  outputs = {"stem/conv": _normalized(_convolution(x, 1, params["stem"]["conv"]["kernel"]), params["stem"]["norm"])}
  x = jax.nn.relu(outputs["stem/conv"])
  for stage in (name for name in params if name.startswith("stage")):
    for block, own in params[stage].items():
      stride = 2 if stage != "stage1" and block == "block1" else 1
      name = f"{stage}/{block}"
      y = outputs[f"{name}/conv1"] = _normalized(_convolution(x, stride, own["conv1"]["kernel"]), own["norm1"])
      y = outputs[f"{name}/conv2"] = _normalized(_convolution(jax.nn.relu(y), 1, own["conv2"]["kernel"]), own["norm2"])
      shortcut = x[:, ::stride, ::stride]
      widened = (y.shape[-1] - x.shape[-1]) // 2
      x = jax.nn.relu(jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (widened, widened))) + y)
  return outputs


@pytest.mark.parametrize("depth", [20, 110])
def test_responses_are_those_of_stored_activations_scanned_and_unrolled(depth):
  """They agree to a relative 1e-5 with deviations of the float32 activations computed in float64."""
  net = Model(depth=depth)
  variables = random_variables(net)
  expected = stored_activations(unstacked(variables)["params"], IMAGES)
  settings = Responses(images=len(IMAGES), batch_size=len(IMAGES), mode="batch")
  for unroll in (1, 1000):
    build = models.build(net, 10, models.ScanOptions(unroll))
    moments = responses.capture(build, settings, variables, IMAGES, STATISTICS)
    rows = responses.lines(settings, 0, layer_table(net).table, moments)
    assert [row["name"] for row in rows] == list(expected)
    assert len(rows) == depth - 1
    for row in rows:
      direct = np.asarray(expected[row["name"]], np.float64)
      assert row["std"] == pytest.approx(direct.std(), rel=1e-5), row["name"]
