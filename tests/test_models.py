"""Built networks: shapes against the layer table, dtypes, layouts of variables, and initialization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from resjax import models
from resjax.config import Model
from resjax.models import layout
from resjax.models.response_statistics import COLLECTION
from tests.sample_networks import (
  BATCH_SHAPE,
  NETWORKS,
  initial_variables,
  layer_table,
  random_variables,
  unstacked,
  variable_shapes,
)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters_are_those_of_the_layer_table(name):
  net = NETWORKS[name]
  built = traverse_util.flatten_dict(jax.eval_shape(unstacked, variable_shapes(net))["params"], sep="/")
  expected = {}
  for layer in layer_table(net).table:
    if layer.kind == "pool":
      continue
    if layer.kind == "norm":
      expected |= {f"{layer.name}/{part}": (layer.outputs,) for part in ("scale", "bias")}
    elif layer.kind == "bias":
      expected[f"{layer.name}/bias"] = (layer.outputs,)
    elif layer.kind == "scalar":
      expected[f"{layer.name}/value"] = ()
    elif layer.kind == "dense":
      expected |= {f"{layer.name}/kernel": (layer.inputs, layer.outputs), f"{layer.name}/bias": (layer.outputs,)}
    else:
      expected[f"{layer.name}/kernel"] = (layer.kernel, layer.kernel, layer.inputs, layer.outputs)
  assert {path: leaf.shape for path, leaf in built.items()} == expected
  assert sum(leaf.size for leaf in built.values()) == layer_table(net).params


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_of_layers_have_the_shapes_of_the_layer_table(name):
  net = NETWORKS[name]
  build = models.build(net, 10)

  def forward(variables):
    return build.apply(
      variables, jnp.zeros(BATCH_SHAPE), train=False, mutable=["intermediates"], capture_intermediates=True
    )

  _, kept = jax.eval_shape(forward, variable_shapes(net))
  outputs = traverse_util.flatten_dict(kept["intermediates"], sep="/")
  for layer in layer_table(net).table:
    if layer.block > 1:  # part of a scan, whose blocks all have the output shape of the first block
      continue
    if layer.kind in ("pool", "scalar"):  # these are no modules, but they determine the shape of the next layer
      continue
    (output,) = outputs[f"{layer.name}/__call__"]
    assert output.shape == (
      (BATCH_SHAPE[0], *layer.size, layer.outputs) if layer.kind != "dense" else (BATCH_SHAPE[0], layer.outputs)
    )


@pytest.mark.parametrize(("depth", "params"), [(20, 269_722), (110, 1_727_962), (1202, 19_421_274)])
def test_networks_have_the_number_of_parameters_of_the_paper(depth, params):
  assert sum(leaf.size for leaf in jax.tree.leaves(variable_shapes(Model(depth=depth))["params"])) == params


def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32():
  """Logits are near those of the float32 network: rounding to 8 bits accumulates over 14 layers."""
  net = Model(depth=14, precision="bfloat16")
  variables = random_variables(net)
  images = jax.random.normal(jax.random.key(1), BATCH_SHAPE)
  logits, updates = models.build(net, 10).apply(variables, images, train=True, mutable=["batch_stats", COLLECTION])
  exact, _ = models.build(Model(depth=14), 10).apply(variables, images, train=True, mutable=["batch_stats", COLLECTION])
  assert {leaf.dtype for leaf in jax.tree.leaves((variables, logits, updates))} == {np.dtype("float32")}
  assert 0 < float(jnp.abs(logits - exact).max()) < 0.1 * float(jnp.abs(exact).max())


def test_bfloat16_activations_are_bfloat16():
  net = models.build(Model(depth=14, precision="bfloat16"), 10)
  _, kept = net.apply(random_variables(net.net), jnp.zeros(BATCH_SHAPE), train=False, capture_intermediates=True)
  outputs = traverse_util.flatten_dict(kept["intermediates"], sep="/")
  inner = {path: str(value.dtype) for path, (value,) in outputs.items() if path.startswith(("stem", "stage"))}
  assert len(inner) > 20 and set(inner.values()) == {"bfloat16"}, inner


def test_layouts_convert_without_loss():
  params = random_variables(NETWORKS["residual C"])["params"]
  back = layout.stacked(layout.unstacked(params))
  assert jax.tree.structure(back) == jax.tree.structure(params)
  assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), back, params))


def test_the_digest_depends_on_values_and_order_but_not_on_the_layout():
  params = random_variables(NETWORKS["residual A"])["params"]
  unstacked_params = layout.unstacked(params)
  assert layout.digest(params) == layout.digest(unstacked_params)
  one_bit = jax.tree.map(np.array, unstacked_params)
  kernel = one_bit["stage2"]["block2"]["conv1"]["kernel"]
  kernel.view(np.uint32)[0, 0, 0, 0] ^= 1
  assert layout.digest(one_bit) != layout.digest(unstacked_params)


def test_blocks_of_a_stage_have_different_initial_weights():
  kernels = initial_variables(Model(depth=20))["params"]["stage1"]["rest"]["conv1"]["kernel"]
  assert not np.allclose(kernels[0], kernels[1])


def test_initial_kernels_have_the_standard_deviation_of_he():
  """It is sqrt(2 / fan_in) (the paper's [13]); the relative standard error with n weights is 1 / sqrt(2 n)."""
  params = layout.unstacked(initial_variables(Model(depth=20))["params"])
  for path, kernel in traverse_util.flatten_dict(params).items():
    if path[-1] == "kernel" and kernel.size > 1000:
      expected = np.sqrt(2 / np.prod(kernel.shape[:-1]))
      assert kernel.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * kernel.size)), path
