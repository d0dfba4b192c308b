"""Dropout on shortcuts: masks, independence of the execution of blocks, and training in intervals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import models
from resjax.config import Data, Model, Train
from resjax.models import blocks, dropout
from resjax.settings import ConfigError
from resjax.train import batched_runs
from tests import digits_training, random_networks

DIGITS = Data(name="digits", pad=0, mirror=False)
NET = Model("mlp", depth=14, block="dense", blocks=(5, 1), width=6, shortcut="dropout")  # dense layers compile fast
TRAIN = Train(steps=6, batch_size=16, learning_rate=0.01)
SCANS = {
  "loop": models.ScanOptions(1, "none"),
  "unrolled": models.ScanOptions(1000, "elementwise"),
  "groups": models.ScanOptions(1, "group"),
}


def test_a_shortcut_is_zero_or_its_input_in_training_and_half_of_it_in_evaluation():
  """The shares of both are one half, within five standard errors."""
  net = Model(depth=14, shortcut="dropout")
  block, x = blocks.Block(16, 1, net), jax.random.uniform(jax.random.key(0), (4, 8, 8, 16), minval=1, maxval=2)
  variables = block.init(jax.random.key(1), x, False)
  keys = [jax.random.key_data(jax.random.key(seed)) for seed in (7, 8)]
  added, other = (np.asarray(block.apply(variables, x, False, jnp.zeros_like, survival=key)) for key in keys)
  kept_values = added != 0
  np.testing.assert_array_equal(added[kept_values], np.asarray(x)[kept_values])
  five_errors = 5 * 0.5 / kept_values.size**0.5
  assert abs(kept_values.mean() - 0.5) < five_errors
  assert abs(((other != 0) == kept_values).mean() - 0.5) < five_errors
  branches = []
  y = block.apply(variables, x, False, lambda f: branches.append(f) or f, survival=keys[0])
  np.testing.assert_allclose(y, jax.nn.relu(branches[0] + added), rtol=1e-5, atol=1e-6)
  expected, _ = block.apply(variables, x, True, jnp.zeros_like, mutable=["batch_stats"])
  np.testing.assert_allclose(expected, 0.5 * x, rtol=1e-6)


def test_random_keys_depend_on_run_step_and_block():
  keys = jax.random.split(jax.random.key(3), 2)
  drawn = [dropout.draw(NET, key, number) for key in keys for number in (0, 1)]
  assert drawn[0].shape == (6, 2) and len(np.unique(np.concatenate(drawn), axis=0)) == 24
  np.testing.assert_array_equal(drawn[1], dropout.draw(NET, keys[0], jnp.int32(1)))
  for other in ({"shortcut": "half"}, {"kind": "plain"}):
    assert dropout.draw(dataclasses.replace(NET, **other), keys[0], 0) is None
  with pytest.raises(ConfigError, match=r"model\.survival = 0\.5: must be 1\.0 with model\.shortcut = 'dropout'"):
    dataclasses.replace(NET, survival=0.5)


def test_masks_do_not_depend_on_the_execution_of_the_blocks():
  """Logits and gradients agree to the rounding of float32 sums; without a mask they differ."""
  net = random_networks.restored_run(NET, 8)
  images = jax.random.normal(jax.random.key(1), (8, 8, 8, 1))
  drawn = dropout.draw(NET, jax.random.key(2), 5)

  def logits_and_gradients(scan, drawn):
    build = models.build(NET, 10, SCANS[scan])

    def total(params):
      logits, _ = build.apply(net.variables | {"params": params}, images, True, drawn, mutable=["batch_stats"])
      return jnp.square(logits).sum(), logits

    gradients, logits = jax.jit(jax.grad(total, has_aux=True))(net.variables["params"])
    return [logits, *jax.tree.leaves(gradients)]

  expected = logits_and_gradients("loop", drawn)
  for scan in ("unrolled", "groups"):
    for one, same in zip(expected, logits_and_gradients(scan, drawn), strict=True):
      np.testing.assert_allclose(one, same, rtol=1e-3, atol=1e-4 * np.abs(one).max())
  unmasked = logits_and_gradients("loop", None)[0]
  assert np.abs(expected[0] - unmasked).max() > 0.1 * np.abs(expected[0]).max()


def test_training_does_not_depend_on_intervals_or_on_other_runs_of_the_program(monkeypatch):
  """Other intervals are bit-identical. Vectorized losses agree to 1e-3; another mask would change the first digit."""
  training_set = digits_training.training_set(DIGITS)

  def train(seeds, stops):
    return digits_training.train(NET, TRAIN, DIGITS, training_set, seeds, stops)

  (whole, (loss,)), (cut, _) = train([3], (6,)), train([3], (1, 4, 6))
  jax.tree.map(np.testing.assert_array_equal, whole, cut)
  monkeypatch.setitem(batched_runs.MAPPING_OF_PLATFORM, jax.default_backend(), "vmap")
  jax.clear_caches()
  _, (losses,) = train([4, 3], (6,))
  jax.clear_caches()
  assert float(losses[1]) == pytest.approx(float(loss[0]), rel=1e-3)
  assert float(losses[0]) != pytest.approx(float(loss[0]), rel=1e-3)
