"""Branch scale, initialization and learning rate that depend on depth, against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from resjax import models, records
from resjax.config import Model, freeze
from tests import short_run
from tests.sample_networks import initial_variables, unstacked

DENSE = Model("mlp", depth=8, block="dense", width=12, preactivation=True, norm="none")
NORMED = Model(depth=14, width=8)
IMAGES = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype(np.float32)


def relu(x):
  return np.maximum(x, 0)


def with_scale(net: Model, scale: float) -> Model:
  """Returns an architecture with another value of model.branch_scale."""
  return freeze({"model": {**vars(net), "branch_scale": scale}}).model


def random_variables(net: Model):
  """Returns variables in which biases and statistics are random as well, so that all have an effect."""
  rng = np.random.default_rng(1)
  variables = jax.tree.map(lambda leaf: leaf + rng.uniform(0.1, 0.3, leaf.shape), initial_variables(net))
  return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), variables)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_a_dense_block_divides_its_branch_by_a_power_of_the_number_of_blocks(scale):
  net = with_scale(DENSE, scale)
  variables = random_variables(net)
  params = unstacked(variables)["params"]

  def dense(x, layer):
    return x @ layer["kernel"][0, 0]

  x = dense(IMAGES.reshape(4, -1), params["stem"]["conv"])
  for i in (1, 2, 3):
    block = params["stage1"][f"block{i}"]
    y = dense(relu(x + block["norm1"]["bias"]), block["conv1"])
    y = dense(relu(y + block["norm2"]["bias"]), block["conv2"])
    x = x + y / 3**scale
  head = params["head"]
  expected = relu(x + head["norm"]["bias"]) @ head["dense"]["kernel"] + head["dense"]["bias"]
  logits = models.build(net, 10).apply(variables, IMAGES, train=False)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)  # float32 sums of 768 products


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_a_convolutional_block_divides_its_branch_by_a_power_of_the_number_of_blocks(scale):
  net = with_scale(NORMED, scale)
  variables = random_variables(net)
  tree = unstacked(variables)

  def layer(x, place, i, stride=1):
    params, statistics = (tree[name] for name in ("params", "batch_stats"))
    for name in place:
      params, statistics = params[name], statistics[name]
    numbers = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(
      x, params[f"conv{i}"]["kernel"], (stride,) * 2, ((1, 1),) * 2, dimension_numbers=numbers
    )
    own, seen = params[f"norm{i}"], statistics[f"norm{i}"]
    return (np.asarray(y) - seen["mean"]) / np.sqrt(seen["var"] + 1e-5) * own["scale"] + own["bias"]

  x = relu(layer(IMAGES, ("stem",), ""))
  for stage in (1, 2, 3):
    for block in (1, 2):
      place, stride = (f"stage{stage}", f"block{block}"), 2 if stage > 1 and block == 1 else 1
      y = layer(relu(layer(x, place, 1, stride)), place, 2)
      shortcut = x[:, ::stride, ::stride]
      shortcut = np.pad(shortcut, ((0, 0),) * 3 + ((0, y.shape[-1] - x.shape[-1]),))
      x = relu(shortcut + y / 6**scale)
  head = tree["params"]["head"]["dense"]
  logits = models.build(net, 10).apply(variables, IMAGES, train=False)
  np.testing.assert_allclose(logits, x.mean((1, 2)) @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
  "net",
  [
    Model("mlp", depth=26, block="dense", width=64, initialization="depth", preactivation=True, norm="none"),
    Model(depth=26, width=24, initialization="depth"),
    Model(depth=29, width=16, block="bottleneck", initialization="depth", norm="none"),
  ],
  ids=["dense", "basic", "bottleneck"],
)
def test_the_initial_variance_of_last_layers_is_divided_by_the_number_of_blocks(net):
  params = unstacked(initial_variables(net))["params"]
  blocks = [block for stage in params if stage.startswith("stage") for block in params[stage].values()]
  assert len(blocks) == net.structure.total_blocks
  layers = net.structure.layers_per_block
  for block in blocks[1:]:  # the first kernel may have only three input channels
    for i in range(1, layers + 1):
      kernel = np.asarray(block[f"conv{i}"]["kernel"])
      fan_in = np.prod(kernel.shape[:-1])
      expected = 2 / fan_in / (len(blocks) if i == layers else 1)
      # Four standard errors; that of a variance is sqrt(2 / n) of it.
      assert kernel.var() == pytest.approx(expected, rel=4 * np.sqrt(2 / kernel.size))


def test_other_layers_have_the_initialization_of_the_paper():
  he, depth = (initial_variables(Model(depth=14, initialization=name))["params"] for name in ("he", "depth"))
  np.testing.assert_array_equal(he["stem"]["conv"]["kernel"], depth["stem"]["conv"]["kernel"])
  np.testing.assert_array_equal(he["stage2"]["rest"]["conv1"]["kernel"], depth["stage2"]["rest"]["conv1"]["kernel"])
  ratio = he["stage2"]["rest"]["conv2"]["kernel"] / depth["stage2"]["rest"]["conv2"]["kernel"]
  np.testing.assert_allclose(ratio, np.sqrt(6), rtol=1e-5)


def test_the_learning_rate_is_scaled_by_a_power_of_the_number_of_blocks_over_nine():
  def rate(depth, scale):
    settings = freeze({"model": {"depth": depth}, "train": {"rate_scale": scale, "learning_rate": 0.1}})
    return settings.scaled_train.learning_rate

  assert rate(20, -1.5) == rate(110, 0.0) == 0.1
  assert rate(110, -1.5) == pytest.approx(0.1 / 6**1.5)
  assert rate(110, 1.0) == pytest.approx(0.6)


def test_runs_with_different_rate_scales_share_one_program():
  one, other = (freeze({"train": {"rate_scale": scale}}) for scale in (0.0, -1.0))
  assert one.shared == other.shared


def test_a_run_is_trained_at_the_scaled_rate(environment, tmp_path):
  settings = {"train__steps": "4", "train__learning_rate": "0.01", "train__rate_scale": "-0.5"}
  settings |= {"execution__log_every": "4", "responses__steps": "()", "gradients__steps": "()"}
  process = short_run.start(tmp_path, environment, **settings)
  code, _, err = short_run.finish(process)
  assert code == 0, err
  run = records.read_run(short_run.run_directory(tmp_path))
  (line,) = [row for row in run.metrics if row["split"] == "train"]
  assert line["learning_rate"] == pytest.approx(0.01 * 3**0.5)  # three blocks are a third of nine
  deviations = {row["name"]: row["here"] for row in run.run["deviations"]}
  assert deviations["train.rate_scale"] == -0.5


def test_a_branch_scale_near_zero_does_not_change_the_network():
  x = jnp.asarray(IMAGES)
  variables = initial_variables(NORMED)
  here = models.build(NORMED, 10).apply(variables, x, train=False)
  scaled = models.build(with_scale(NORMED, 1e-9), 10).apply(variables, x, train=False)
  np.testing.assert_allclose(here, scaled, rtol=1e-5, atol=1e-5)
