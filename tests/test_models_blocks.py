"""Blocks and shortcuts, each against its formula."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn, traverse_util

from resjax import models
from resjax.config import Model
from resjax.models import blocks, shortcuts
from resjax.models.response_statistics import COLLECTION
from tests.sample_networks import BATCH_SHAPE, NETWORKS, initial_variables, variable_shapes


def identity_shortcut(x, stride=2, **model):
  return shortcuts.identity_shortcut(Model(**model), 8, stride, x)


def test_option_a_subsamples_and_appends_zeros():
  x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
  y = np.asarray(identity_shortcut(x))
  assert y.shape == (2, 3, 2, 8)
  np.testing.assert_array_equal(y[..., :3], x[:, ::2, ::2])
  assert not y[..., 3:].any()


def test_option_a_can_add_zeros_on_both_sides():
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
  y = np.asarray(identity_shortcut(x, option_a_zeros="both"))
  np.testing.assert_array_equal(y[..., 2:5], x[:, ::2, ::2])  # two of the five new channels come first
  assert not y[..., :2].any() and not y[..., 5:].any()


def test_option_a_averages_the_pixels_of_a_square_inside_of_the_image():
  x = np.arange(2 * 3 * 3 * 1, dtype=np.float32).reshape(2, 3, 3, 1)
  y = np.asarray(identity_shortcut(x, option_a_stride="average"))
  for row in range(2):
    for column in range(2):
      square = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, 0]
      np.testing.assert_allclose(y[:, row, column, 0], square.mean((1, 2)), rtol=1e-6)


def test_option_a_is_the_identity_if_shapes_do_not_change():
  x = jnp.ones((2, 4, 4, 8))
  assert identity_shortcut(x, stride=1) is x


def test_convolutions_of_stride_two_are_centered_at_the_pixels_of_option_a():
  """With symmetric padding an identity kernel of stride 2 subsamples; with SAME padding it is off by one pixel."""
  x = jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
  kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
  outputs = {
    padding: models.conv.Conv(1, stride=2, padding=padding).apply({"params": {"kernel": kernel}}, x)
    for padding in ("symmetric", "same")
  }
  np.testing.assert_array_equal(outputs["symmetric"], shortcuts.subsample(x))
  np.testing.assert_array_equal(outputs["same"], x[:, 1::2, 1::2])


def test_main_branches_with_zero_init_scale_start_at_zero():
  """The responses of the second layers of all blocks are zero."""
  variables = initial_variables(NETWORKS["scale from zero"])
  images = jax.random.normal(jax.random.key(1), BATCH_SHAPE)
  build = models.build(NETWORKS["scale from zero"], 10)
  _, sown = build.apply(variables, images, train=True, mutable=[COLLECTION, "batch_stats"])
  for path, moments in traverse_util.flatten_dict(sown[COLLECTION]).items():
    assert np.asarray(moments).any() != (path[-1] in ("conv2_response", "branch_response")), path


def test_every_allowed_shortcut_is_implemented():
  (allowed,) = (field.metadata["allowed"] for field in dataclasses.fields(Model) if field.name == "shortcut")
  assert tuple(shortcuts.SHORTCUTS) == allowed


def block_output(net: Model, channels: int = 16, **values):
  """Evaluates a block of stride 1 with its initial variables.

  Args:
    net: Architecture of the block.
    channels: Number of channels of the input.
    **values: Constants that replace initial parameters, by path.

  Returns:
    Input, float32 [2, 6, 6, channels], and output of the block.
  """
  block = blocks.Block(16, 1, net)
  x = nn.relu(jax.random.normal(jax.random.key(0), (2, 6, 6, channels)))
  variables = block.init(jax.random.key(1), x, False)
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  replaced = {path: jnp.full_like(flat[path], value) for path, value in values.items()}
  params = traverse_util.unflatten_dict(flat | replaced, sep="/")
  return np.asarray(x), np.asarray(block.apply({**variables, "params": params}, x, False))


@pytest.mark.parametrize("name", ["ReZero", "SkipInit", "Fixup", "Fixup bottleneck"])
def test_zero_initialized_blocks_start_as_the_identity(name):
  net = NETWORKS[name]
  x, y = block_output(net, 16 * (4 if net.block == "bottleneck" else 1))
  np.testing.assert_array_equal(x, y)


def test_a_gain_multiplies_the_main_branch():
  """In relu(x + gain F(x)) the difference from x is proportional to the gain where the ReLU is positive."""
  net = NETWORKS["ReZero"]
  (x, once), (_, twice) = block_output(net, **{"gain/value": 1}), block_output(net, **{"gain/value": 2})
  is_open = (once > 0) & (twice > 0)
  np.testing.assert_allclose((twice - x)[is_open], 2 * (once - x)[is_open], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(once, block_output(Model(depth=14))[1], rtol=1e-5, atol=1e-5)


def test_a_highway_block_is_the_identity_if_its_gate_is_closed_and_plain_if_it_is_open():
  net, plain = NETWORKS["Highway"], dataclasses.replace(NETWORKS["Highway"], kind="plain")
  x, closed = block_output(net, **{"gate_bias/bias": -40})
  np.testing.assert_allclose(closed, x, rtol=1e-6, atol=1e-15)  # the sigmoid of -40 is about 1e-17
  _, wide_open = block_output(net, **{"gate_bias/bias": 40})
  np.testing.assert_allclose(wide_open, block_output(plain)[1], rtol=1e-5, atol=1e-6)


def test_a_highway_block_activates_its_main_branch_only():
  """With a closed gate a block with tanh is the identity, too, and with an open one tanh(F(x))."""
  net = dataclasses.replace(NETWORKS["Highway"], activation="tanh")
  x, closed = block_output(net, **{"gate_bias/bias": -40})
  np.testing.assert_allclose(closed, x, rtol=1e-6, atol=1e-15)
  _, wide_open = block_output(net, **{"gate_bias/bias": 40})
  np.testing.assert_allclose(wide_open, block_output(dataclasses.replace(net, kind="plain"))[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["half", "dropout", "mean", "shortcut gate", "exclusive gate"])
def test_shortcuts_of_identity_mappings_follow_their_formulas(name):
  """Outputs are those of Table 1 of "Identity Mappings in Deep Residual Networks", with F from a plain block."""
  net = NETWORKS[name]
  block, x = blocks.Block(16, 1, net), jax.random.normal(jax.random.key(0), (2, 6, 6, 16))
  variables = block.init(jax.random.key(1), x, False)
  params = variables["params"]
  branch_of = blocks.Block(16, 1, dataclasses.replace(net, kind="plain", preactivation=False))
  own = {key: value for key, value in params.items() if not key.startswith("gate")}
  kept = []
  branch_of.apply({**variables, "params": own}, x, False, lambda y: kept.append(y) or y)
  f, g = kept[0], None
  if "gate" in name:
    assert (params["gate_bias"]["bias"] == (-1.0 if name.startswith("exclusive") else -6.0)).all()
    g = jax.nn.sigmoid(x @ params["gate"]["kernel"][0, 0] + params["gate_bias"]["bias"])
  expected = {
    "half": lambda: f + 0.5 * x,
    "dropout": lambda: f + 0.5 * x,  # in evaluation
    "mean": lambda: 0.5 * f + 0.5 * x,
    "shortcut gate": lambda: f + (1 - g) * x,
    "exclusive gate": lambda: g * f + (1 - g) * x,
  }[name]()
  np.testing.assert_allclose(block.apply(variables, x, False), nn.relu(expected), rtol=1e-4, atol=1e-5)


def test_fixup_scales_the_initial_weights_of_other_layers():
  """With six blocks the factor is 6^-1/2 for two layers and 6^-1/4 for three, on He's deviation by fan-out."""
  for name, factor in (("Fixup", 6**-0.5), ("Fixup bottleneck", 6**-0.25)):
    kernel = initial_variables(NETWORKS[name])["params"]["stage3"]["rest"]["conv1"]["kernel"]
    expected = factor * np.sqrt(2 / (np.prod(kernel.shape[-4:-2]) * kernel.shape[-1]))
    assert kernel.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * kernel.size))


def test_a_fully_connected_block_follows_its_formula():
  """y = relu(W2 relu(W1 x + b1) + b2 + x), the equation of Sec. 3.2 for fully connected layers."""
  net = Model("mlp", depth=4, block="dense", width=5, norm="none")
  build = models.build(net, 3)
  images = jax.random.normal(jax.random.key(0), (2, 4, 3, 2))
  variables = jax.tree.map(
    lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), build.init(jax.random.key(1), images, False)
  )
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
  block = params["stage1"]["block1"]

  def layer(x, where, i):
    return x @ where[f"conv{i}"]["kernel"][0, 0] + where[f"norm{i}"]["bias"]

  relu = lambda x: np.maximum(x, 0)  # noqa: E731
  flat = np.asarray(images, np.float64).reshape(2, -1)
  x = relu(flat @ params["stem"]["conv"]["kernel"][0, 0] + params["stem"]["norm"]["bias"])
  x = relu(layer(relu(layer(x, block, 1)), block, 2) + x)
  logits = x @ params["head"]["dense"]["kernel"] + params["head"]["dense"]["bias"]
  np.testing.assert_allclose(build.apply(variables, images, True), logits, rtol=1e-4)  # float32


def test_plain_and_residual_networks_have_the_same_parameters():
  plain, residual = (variable_shapes(NETWORKS[name]) for name in ("plain", "residual A"))
  assert jax.tree.all(jax.tree.map(lambda a, b: a.shape == b.shape, plain, residual))


def test_a_block_sows_statistics_of_its_input_and_main_branch():
  """The output of a pre-activation block is the sum of both, so the main branch is output minus input."""
  x = jax.random.normal(jax.random.key(0), (3, 8, 8, 4)) * 2 + 1
  block = blocks.Block(4, 1, Model(depth=8, width=4, preactivation=True))
  variables = block.init(jax.random.key(1), x, train=False)
  y, updated = block.apply(variables, x, train=False, mutable=[COLLECTION])
  sown = updated[COLLECTION]
  for name, part in (("input", x), ("branch", y - x)):
    expected = np.stack([np.mean(part, (0, 1, 2)), np.var(part, (0, 1, 2))])
    # Sums of a few hundred float32 terms in another order.
    np.testing.assert_allclose(sown[f"{name}_response"][0], expected, rtol=1e-4, atol=1e-5)
