"""Nets deepened by identity blocks: the same logits, whatever they are made of; what cannot be done is said."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import models
from resjax.config import Data, Model, Train
from resjax.settings import ConfigError
from resjax.studies import apart, deepened
from resjax.train import evaluate, state, trained
from tests import random_nets

DIGITS = Data(name="digits", pad=1, mirror=False)
NET = Model(depth=8, blocks=(2, 1), width=4)


@pytest.fixture(scope="module")
def images():
  return jnp.asarray(np.random.default_rng(1).integers(0, 256, (12, 8, 8, 1), np.uint8))


@pytest.mark.parametrize(
  "changes",
  [
    {"kind": "residual"},
    {"kind": "plain"},
    {"kind": "plain", "norm": "none"},
    {"kind": "residual", "preactivation": True, "shortcut": "B"},
  ],
  ids=str,
)
def test_the_logits_stay(tmp_path, images, changes):
  """To 1e-5 of their size: a plain net's new norms multiply by what they divide by."""
  model = dataclasses.replace(NET, **changes)
  net = trained.read(random_nets.write(tmp_path / "net", model, DIGITS, 8, 10, channels=1))
  deeper = deepened.model(model, 0)
  assert (deeper.depth, deeper.blocks) == (14, (4, 2))
  start = state.initial(deeper, Train(), 10, (8, 8, 1), 0)
  fresh = {"params": start.params, "batch_stats": start.batch_stats}
  moments = deepened.stage_moments(apart.Apart(model, 10), 5, net.variables, images, net.input.statistics)
  variables = deepened.variables(deeper, net.variables, fresh, moments)
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, fresh)
  before, after = (
    np.asarray(evaluate.logits(models.build(each, 10), 5, tree, images, net.input.statistics))
    for each, tree in ((model, net.variables), (deeper, variables))
  )
  assert before.shape == (12, 10)
  np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * max(np.abs(before).max(), 1))


@pytest.mark.parametrize(
  ("net", "depth", "says"),
  [
    (Model(), 20, "must be more than the 20 of the trained net"),
    (Model(), 21, "not 6n"),
    (Model(shortcut="C"), 0, "model.shortcut is 'C'"),
    (Model(activation="sigmoid"), 0, "model.activation is 'sigmoid'"),
    (Model(kind="plain", preactivation=True), 0, "plain and model.preactivation"),
    (Model(kind="plain", depth=29, block="bottleneck"), 0, "plain and of bottleneck"),
  ],
)
def test_what_cannot_be_deepened(net, depth, says):
  with pytest.raises(ConfigError, match=says):
    deepened.model(net, depth)


def test_twice_the_blocks():
  assert deepened.model(Model(depth=20), 0).depth == 38
  assert deepened.model(Model(family="imagenet", depth=18), 0).blocks == (4, 4, 4, 4)
