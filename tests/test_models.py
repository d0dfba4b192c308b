"""The built nets against the layer table, their numbers' types, and the two layouts against each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from resjax import models
from resjax.config import Model
from resjax.models import layout
from resjax.models.response_statistics import COLLECTION
from tests.sample_networks import IMAGES, NETS, filled, initial, shapes, table, unstacked


@pytest.mark.parametrize("name", NETS)
def test_every_array_of_the_built_net_is_in_the_layer_table(name):
  net = NETS[name]
  built = traverse_util.flatten_dict(jax.eval_shape(unstacked, shapes(net))["params"], sep="/")
  expected = {}
  for layer in table(net).table:
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
  assert sum(leaf.size for leaf in built.values()) == table(net).params


@pytest.mark.parametrize("name", NETS)
def test_every_map_has_the_side_the_layer_table_says(name):
  net = NETS[name]
  build = models.build(net, 10)

  def forward(variables):
    return build.apply(variables, jnp.zeros(IMAGES), train=False, mutable=["intermediates"], capture_intermediates=True)

  _, kept = jax.eval_shape(forward, shapes(net))
  outputs = traverse_util.flatten_dict(kept["intermediates"], sep="/")
  for layer in table(net).table:
    if layer.block > 1:  # in a loop, whose blocks all have the shape of the first one's output
      continue
    if layer.kind in ("pool", "scalar"):  # of a pooling, which is no module of its own, the next layer's map tells
      continue
    (output,) = outputs[f"{layer.name}/__call__"]
    assert output.shape == (
      (IMAGES[0], *layer.size, layer.outputs) if layer.kind != "dense" else (IMAGES[0], layer.outputs)
    )


@pytest.mark.parametrize(("depth", "params"), [(20, 269_722), (110, 1_727_962), (1202, 19_421_274)])
def test_built_parameters_are_the_papers(depth, params):
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes(Model(depth=depth))["params"])) == params


def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32():
  """And is near the float32 net: to a few units of its 8 bits, summed over 14 layers."""
  net = Model(depth=14, precision="bfloat16")
  variables = filled(net)
  images = jax.random.normal(jax.random.key(1), IMAGES)
  logits, updates = models.build(net, 10).apply(variables, images, train=True, mutable=["batch_stats", COLLECTION])
  exact, _ = models.build(Model(depth=14), 10).apply(variables, images, train=True, mutable=["batch_stats", COLLECTION])
  assert {leaf.dtype for leaf in jax.tree.leaves((variables, logits, updates))} == {np.dtype("float32")}
  assert 0 < float(jnp.abs(logits - exact).max()) < 0.1 * float(jnp.abs(exact).max())


def test_bfloat16_activations_are_bfloat16():
  net = models.build(Model(depth=14, precision="bfloat16"), 10)
  _, kept = net.apply(filled(net.net), jnp.zeros(IMAGES), train=False, capture_intermediates=True)
  outputs = traverse_util.flatten_dict(kept["intermediates"], sep="/")
  inner = {path: str(value.dtype) for path, (value,) in outputs.items() if path.startswith(("stem", "stage"))}
  assert len(inner) > 20 and set(inner.values()) == {"bfloat16"}, inner


def test_layouts_convert_without_loss():
  params = filled(NETS["residual C"])["params"]
  back = layout.stacked(layout.unstacked(params))
  assert jax.tree.structure(back) == jax.tree.structure(params)
  assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), back, params))


def test_digest_is_that_of_values_and_order_not_of_layout():
  params = filled(NETS["residual A"])["params"]
  apart = layout.unstacked(params)
  assert layout.digest(params) == layout.digest(apart)
  one_bit = jax.tree.map(np.array, apart)
  kernel = one_bit["stage2"]["block2"]["conv1"]["kernel"]
  kernel.view(np.uint32)[0, 0, 0, 0] ^= 1
  assert layout.digest(one_bit) != layout.digest(apart)


def test_blocks_of_a_stage_start_differently():
  kernels = initial(Model(depth=20))["params"]["stage1"]["rest"]["conv1"]["kernel"]
  assert not np.allclose(kernels[0], kernels[1])


def test_he_initialisation():
  """Deviation sqrt(2 / fan_in), He et al. 2015 (the paper's [13]), which n weights give to one part in sqrt(2n)."""
  params = layout.unstacked(initial(Model(depth=20))["params"])
  for path, kernel in traverse_util.flatten_dict(params).items():
    if path[-1] == "kernel" and kernel.size > 1000:
      expected = np.sqrt(2 / np.prod(kernel.shape[:-1]))
      assert kernel.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * kernel.size)), path
