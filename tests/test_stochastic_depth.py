"""Stochastic depth: a forward pass against plain JAX, survival probabilities, and training in intervals."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import models
from resjax.config import Data, Model, Train
from resjax.data.augment import normalize
from resjax.data.order import batch_order
from resjax.models import layout, stochastic_depth
from resjax.studies import lesion_plans, segmented_model
from resjax.studies.lesion_forward import LesionedModel
from resjax.train import batched_runs, evaluate, state
from tests import digits_training, random_networks
from tests.sample_networks import unstacked

DIGITS = Data(name="digits", pad=0, mirror=False)
NET = Model("mlp", depth=14, block="dense", blocks=(5, 1), width=6, survival=0.4)  # dense layers compile fast
TRAIN = Train(steps=8, batch_size=16, learning_rate=0.01)
BLOCKS = [(f"stage{stage}", f"block{b}") for stage, blocks in ((1, 5), (2, 1)) for b in range(1, blocks + 1)]
SURVIVAL = [1 - b / 6 * 0.6 for b in range(1, 7)]  # survival probability of each block
SCANS = {
  "loop": models.ScanOptions(1, "none"),
  "unrolled": models.ScanOptions(1000, "elementwise"),
  "groups": models.ScanOptions(1, "group"),
}


def plain_forward(variables, x, kept=None):
  """Computes the network layer by layer.

  Args:
    variables: Variables in the stacked layout.
    x: Normalized images, float32 [images, height, width, channels].
    kept: For each block whether it is kept in this training step; None evaluates the network with running statistics.

  Returns:
    Logits, float32 [images, 10], and the updated running statistics by path of the norm.
  """
  params, stats = (unstacked(variables)[name] for name in ("params", "batch_stats"))
  after = {}

  def layer(x, i, *where):
    own, old = (functools.reduce(lambda tree, key: tree[key], where, tree) for tree in (params, stats))
    x, old = x @ own[f"conv{i}"]["kernel"][0, 0], old[f"norm{i}"]
    mean, var = (old["mean"], old["var"]) if kept is None else (x.mean(0), x.var(0))
    after[(*where, f"norm{i}")] = {"mean": 0.9 * old["mean"] + 0.1 * mean, "var": 0.9 * old["var"] + 0.1 * var}
    return (x - mean) / jnp.sqrt(var + 1e-5) * own[f"norm{i}"]["scale"] + own[f"norm{i}"]["bias"]

  x = jax.nn.relu(layer(x.reshape(len(x), -1), "", "stem"))
  for number, (stage, block) in enumerate(BLOCKS):
    shortcut = jnp.pad(x, ((0, 0), (0, 6))) if (stage, block) == ("stage2", "block1") else x  # option A
    if kept is None or kept[number]:
      y = layer(jax.nn.relu(layer(x, 1, stage, block)), 2, stage, block)
      shortcut += y * (SURVIVAL[number] if kept is None else 1)
    x = jax.nn.relu(shortcut)
  return x @ params["head"]["dense"]["kernel"] + params["head"]["dense"]["bias"], after


@pytest.fixture(scope="module")
def net():
  return random_networks.restored_run(NET, 8)


@pytest.fixture(scope="module")
def images():
  return jax.random.normal(jax.random.key(1), (8, 8, 8, 1))


@functools.partial(jax.jit, static_argnames="scan")
def training_pass(scan, variables, images, kept):
  """Returns the gradients of the sum of the squared logits, the logits, and the updated statistics."""

  def total(params):
    build = models.build(NET, 10, SCANS[scan])
    outputs = build.apply(variables | {"params": params}, images, True, kept, mutable=["batch_stats"])
    return jnp.square(outputs[0]).sum(), outputs

  gradients, (logits, updates) = jax.grad(total, has_aux=True)(variables["params"])
  return gradients, logits, updates


@pytest.mark.parametrize("kept", [(1, 0, 1, 0, 0, 1), (0, 1, 1, 1, 1, 0)], ids=str)
@pytest.mark.parametrize("scan", SCANS)
def test_a_training_pass_is_that_of_the_blocks_kept(net, images, scan, kept):
  """The statistics of dropped blocks do not change by a bit, and the gradients of their parameters are zero."""
  gradients, logits, updates = training_pass(scan, net.variables, images, jnp.array(kept, bool))
  expected, after = plain_forward(net.variables, images, kept)
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)  # float32 sums in another order
  before, stats, gradients = (
    layout.unstacked(tree) for tree in (net.variables["batch_stats"], updates["batch_stats"], gradients)
  )
  for is_kept, (stage, block) in zip(kept, BLOCKS, strict=True):
    has_gradient = any(np.asarray(leaf).any() for leaf in jax.tree.leaves(gradients[stage][block]))
    assert has_gradient == bool(is_kept)
    for norm, leaf in stats[stage][block].items():
      if is_kept:
        close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
        jax.tree.map(close, leaf, after[(stage, block, norm)])
      else:
        jax.tree.map(np.testing.assert_array_equal, leaf, before[stage][block][norm])


@pytest.mark.parametrize("scan", SCANS)
def test_in_evaluation_each_branch_is_multiplied_by_its_survival_probability(net, images, scan):
  logits = models.build(NET, 10, SCANS[scan]).apply(net.variables, images, train=False)
  np.testing.assert_allclose(logits, plain_forward(net.variables, images)[0], rtol=1e-4, atol=1e-4)


def test_survival_probabilities_fall_linearly_to_the_last_block():
  """With 110 layers and 0.5 for the last of 54 blocks, the expected number of blocks is three quarters of 54."""
  found = stochastic_depth.probabilities(Model(depth=110, survival=0.5))
  np.testing.assert_allclose(found, np.linspace(1 - 1 / 108, 0.5, 54), rtol=1e-12)
  assert found.sum() == pytest.approx(54 * 3 / 4, abs=0.3)  # Huang et al. 2016, Sec. 3: (3 L - 1) / 4


def test_blocks_are_kept_independently_with_their_survival_probabilities():
  keys = jax.random.split(jax.random.key(7), 40)
  drawn = jax.vmap(lambda key: jax.vmap(lambda step: stochastic_depth.draw(NET, key, step))(jnp.arange(100)))(keys)
  # Five standard errors of 4,000 draws.
  np.testing.assert_allclose(drawn.mean((0, 1)), SURVIVAL, atol=5 * np.sqrt(0.25 / 4000))
  np.testing.assert_array_equal(drawn[3, 5], stochastic_depth.draw(NET, keys[3], 5))
  flat = np.asarray(drawn, int).reshape(4000, 6)
  assert np.abs(np.corrcoef(flat.T) - np.eye(6)).max() < 5 / np.sqrt(4000)  # blocks are independent
  assert abs(np.corrcoef(flat[:-1, -1], flat[1:, -1])[0, 1]) < 5 / np.sqrt(4000)  # and so are steps
  assert stochastic_depth.draw(dataclasses.replace(NET, survival=1.0), keys[0], 0) is None


@pytest.fixture(scope="module")
def training_set():
  return digits_training.training_set(DIGITS)


def train(training_set, seeds, stops=(8,)):
  return digits_training.train(NET, TRAIN, DIGITS, training_set, seeds, stops)


@pytest.fixture(scope="module")
def separate(training_set):
  """Returns the results of two runs by seed, each trained by a program of its own."""
  return {seed: train(training_set, [seed]) for seed in (3, 4)}


def test_training_in_other_intervals_is_bit_identical(training_set, separate):
  whole, cut = separate[3][0], train(training_set, [3], (1, 5, 8))[0]
  jax.tree.map(np.testing.assert_array_equal, whole, cut)


def test_the_first_step_keeps_the_blocks_that_the_key_of_the_run_determines(training_set):
  _, losses = train(training_set, [3], (1, 5, 8))
  start = state.initial(NET, TRAIN, 10, (8, 8, 1), 3)
  key = jax.random.wrap_key_data(start.key)
  order = batch_order(jax.random.split(key)[0], 0, 8, len(training_set.labels), 16)[0]
  images, labels = normalize(training_set.images[order], training_set.statistics), training_set.labels[order]
  kept = np.asarray(stochastic_depth.draw(NET, key, 0))
  logits, _ = plain_forward({"params": start.params, "batch_stats": start.batch_stats}, images, kept)
  loss = -jax.nn.log_softmax(logits)[jnp.arange(16), labels].mean()
  assert not kept.all() and float(losses[0][0]) == pytest.approx(float(loss), rel=1e-4)


def test_vectorized_runs_keep_the_same_blocks_as_separate_ones(training_set, separate, monkeypatch):
  """Losses agree to 1e-3; other blocks would change the first digit."""
  monkeypatch.setitem(batched_runs.MAPPING_OF_PLATFORM, jax.default_backend(), "vmap")
  jax.clear_caches()
  _, (losses,) = train(training_set, [3, 4])
  jax.clear_caches()
  for run, seed in enumerate((3, 4)):
    assert float(losses[run]) == pytest.approx(float(separate[seed][1][0][0]), rel=1e-3)


def test_a_dropped_block_is_not_computed_unless_vectorized(net, images):
  """The first block of each stage and the loop have one conditional each, and none under `vmap`."""
  build = models.build(NET, 10, models.ScanOptions(1, "none"))

  def forward(kept):
    return build.apply(net.variables, images, True, kept, mutable=["batch_stats"])[0]

  kept = jnp.ones(6, bool)
  branches, vectorized = (
    jax.jit(function).lower(argument).as_text().count("stablehlo.case")
    for function, argument in ((forward, kept), (jax.vmap(forward), kept[None]))
  )
  assert branches == vectorized + 3


def test_studies_of_blocks_scale_branches_as_the_network_does(net):
  images = jnp.asarray(np.random.default_rng(1).integers(0, 256, (16, 8, 8, 1), np.uint8)), jnp.arange(16) % 10
  parts = segmented_model.SegmentedModel(NET, 10)
  whole = lesion_plans.Lesion("none", (), ((1, 2, 3, 4, 5), (1,)), 0)
  own = jax.tree.map(lambda leaf: leaf[None], net.variables["batch_stats"])
  variables, lesions = parts.with_survival(net.variables), lesion_plans.arrays([whole])
  losses, wrongs = LesionedModel(parts, 16, variables, lesions, net.input.statistics).test(own, *images)
  loss, wrong = evaluate.evaluate(models.build(NET, 10), 16, net.variables, *images, net.input.statistics)
  assert float(losses[0]) == pytest.approx(float(loss), rel=1e-5)
  assert int(wrongs[0]) == int(wrong)
