"""The built nets against the layer table, and the two layouts against each other."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from resjax import models
from resjax.config import Model, Train
from resjax.depth import Net
from resjax.models import layout, shortcuts
from resjax.models.probes import COLLECTION
from resjax.train.state import initial as initial_state

IMAGES = (4, 16, 16, 3)
NETS = {
  "residual A": Model(depth=14),
  "residual B": Model(depth=14, shortcut="B"),
  "residual C": Model(depth=14, shortcut="C"),
  "plain": Model(depth=14, kind="plain"),
  "one block a stage": Model(depth=8),
  "A, averaged, zeros on both sides": Model(depth=14, option_a_stride="average", option_a_zeros="both"),
  "SAME padding": Model(depth=14, padding="same"),
  "bottleneck A": Model(depth=20, block="bottleneck"),
  "bottleneck C": Model(depth=20, block="bottleneck", shortcut="C"),
  "pre-activation A": Model(depth=14, preactivation=True),
  "pre-activation B": Model(depth=14, preactivation=True, shortcut="B"),
  "pre-activation bottleneck, plain": Model(depth=20, block="bottleneck", kind="plain", preactivation=True),
  "scale from zero": Model(depth=14, zero_init_scale=True),
}


@functools.cache
def shapes(net: Model):
  """Returns the shapes of all variables, stacked; nothing is compiled."""
  build = models.build(net, 10, scan=True)
  return jax.eval_shape(lambda: build.init(jax.random.key(0), jnp.zeros(IMAGES), train=False))


def filled(net: Model):
  """Returns variables with random numbers everywhere, scales and variances positive."""
  rng = np.random.default_rng(0)

  def fill(path, leaf):
    if path[-1].key == "kernel":
      return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[-4:-1])), leaf.shape).astype(np.float32)
    return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)

  return jax.tree.map_with_path(fill, shapes(net))


@functools.cache
def initial(net: Model):
  """Returns the variables as a run starts with them, stacked."""
  state = initial_state(net, Train(), 10, IMAGES[1:], scan=True, seed=0)
  return {"params": state.params, "batch_stats": state.batch_stats}


def unstacked(variables):
  return {name: layout.unstacked(tree) for name, tree in variables.items()}


def table(net: Model) -> Net:
  return Net(net.kind, net.depth, net.block, net.shortcut, net.preactivation, IMAGES[1:], 10)


@pytest.mark.parametrize("name", NETS)
def test_every_array_of_the_built_net_is_in_the_layer_table(name):
  net = NETS[name]
  built = traverse_util.flatten_dict(jax.eval_shape(unstacked, shapes(net))["params"], sep="/")
  expected = {}
  for layer in table(net).table:
    if layer.kind == "norm":
      expected |= {f"{layer.name}/{part}": (layer.outputs,) for part in ("scale", "bias")}
    elif layer.kind == "dense":
      expected |= {f"{layer.name}/kernel": (layer.inputs, layer.outputs), f"{layer.name}/bias": (layer.outputs,)}
    else:
      expected[f"{layer.name}/kernel"] = (layer.kernel, layer.kernel, layer.inputs, layer.outputs)
  assert {path: leaf.shape for path, leaf in built.items()} == expected
  assert sum(leaf.size for leaf in built.values()) == table(net).params


@pytest.mark.parametrize("name", NETS)
def test_every_map_has_the_side_the_layer_table_says(name):
  net = NETS[name]
  build = models.build(net, 10, scan=False)

  def forward(variables):
    return build.apply(variables, jnp.zeros(IMAGES), train=False, mutable=["intermediates"], capture_intermediates=True)

  _, kept = jax.eval_shape(forward, jax.eval_shape(unstacked, shapes(net)))
  outputs = traverse_util.flatten_dict(kept["intermediates"], sep="/")
  for layer in table(net).table:
    (output,) = outputs[f"{layer.name}/__call__"]
    assert output.shape == ((IMAGES[0], *layer.side, layer.outputs) if layer.kind != "dense" else (IMAGES[0], 10))


@pytest.mark.parametrize(("depth", "params"), [(20, 269_722), (110, 1_727_962), (1202, 19_421_274)])
def test_built_parameters_are_the_papers(depth, params):
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes(Model(depth=depth))["params"])) == params


@pytest.mark.parametrize("name", ["residual B", "bottleneck A", "pre-activation bottleneck, plain"])
def test_scanned_equals_unrolled(name):
  """Logits, gradients, statistics and responses from the same parameters, within rounding; with remat, too."""
  net = NETS[name]
  variables = filled(net)
  images = jax.random.normal(jax.random.key(1), IMAGES)

  def run(scan, variables, remat=False):
    build = models.build(net, 10, scan, remat)

    def loss(params):
      collections = {"params": params, "batch_stats": variables["batch_stats"]}
      logits, updates = build.apply(collections, images, train=True, mutable=["batch_stats", COLLECTION])
      return jax.nn.logsumexp(logits), (logits, updates)

    (_, (logits, updates)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    return {"logits": logits, "gradients": gradients, **updates}

  scanned, unrolled = run(True, variables), run(False, unstacked(variables))
  together = {name: layout.unstacked(tree) for name, tree in scanned.items() if name != "logits"}
  together["logits"] = scanned["logits"]

  def close(one, other):
    # The same operations in two programs: some thousand float32 roundings of the largest value.
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * max(np.abs(other).max(), 1e-3))

  jax.tree.map(close, together, unrolled)
  jax.tree.map(close, run(True, variables, remat=True), scanned)
  jax.tree.map(close, run(False, unstacked(variables), remat=True), unrolled)


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


def branch(**changes):
  return dataclasses.replace(shortcuts.Branch(8, 2, "subsample", "end", lambda *_, **__: None, None), **changes)


def test_option_a_subsamples_and_appends_zeros():
  x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
  y = np.asarray(shortcuts.zero_padded(branch(), x))
  assert y.shape == (2, 3, 2, 8)
  np.testing.assert_array_equal(y[..., :3], x[:, ::2, ::2])
  assert not y[..., 3:].any()


def test_option_a_zeros_on_both_sides():
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
  y = np.asarray(shortcuts.zero_padded(branch(a_zeros="both"), x))
  np.testing.assert_array_equal(y[..., 2:5], x[:, ::2, ::2])  # of five new channels two stand before
  assert not y[..., :2].any() and not y[..., 5:].any()


def test_option_a_averages_what_there_is_of_a_square():
  x = np.arange(2 * 3 * 3 * 1, dtype=np.float32).reshape(2, 3, 3, 1)
  y = np.asarray(shortcuts.zero_padded(branch(a_stride="average"), x))
  for row in range(2):
    for column in range(2):
      square = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, 0]
      np.testing.assert_allclose(y[:, row, column, 0], square.mean((1, 2)), rtol=1e-6)


def test_option_a_is_the_identity_where_shapes_do_not_change():
  x = jnp.ones((2, 4, 4, 8))
  assert shortcuts.zero_padded(branch(stride=1), x) is x


def test_stride_two_is_centred_where_option_a_subsamples():
  """With symmetric padding an identity kernel of stride 2 is subsampling; SAME padding is one pixel off."""
  x = jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
  kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
  outputs = {
    padding: models.conv.Conv(1, stride=2, padding=padding).apply({"params": {"kernel": kernel}}, x)
    for padding in ("symmetric", "same")
  }
  np.testing.assert_array_equal(outputs["symmetric"], shortcuts.subsampled(x))
  np.testing.assert_array_equal(outputs["same"], x[:, 1::2, 1::2])


def test_a_residual_net_with_zero_branches_starts_as_identity():
  """With zero_init_scale a block adds nothing at first: responses of second layers are zero."""
  variables = initial(NETS["scale from zero"])
  images = jax.random.normal(jax.random.key(1), IMAGES)
  build = models.build(NETS["scale from zero"], 10, scan=True)
  _, sown = build.apply(variables, images, train=True, mutable=[COLLECTION, "batch_stats"])
  for path, moments in traverse_util.flatten_dict(sown[COLLECTION]).items():
    assert np.asarray(moments).any() != (path[-1] == "conv2_response"), path


def test_plain_and_residual_have_the_same_parameters():
  assert jax.tree.all(jax.tree.map(lambda a, b: a.shape == b.shape, shapes(NETS["plain"]), shapes(NETS["residual A"])))
