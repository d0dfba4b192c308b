"""Dropout on shortcuts: masks by hand, the same however blocks are executed, and training that can be cut anywhere."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import data, models
from resjax.config import Data, Model, Train
from resjax.data.augment import statistics
from resjax.models import blocks, dropout
from resjax.settings import ConfigError
from resjax.train import batched_runs, state, step
from tests import random_networks

DIGITS = Data(name="digits", pad=0, mirror=False)
NET = Model("mlp", depth=14, block="dense", blocks=(5, 1), width=6, shortcut="dropout")  # dense layers compile fast
TRAIN = Train(steps=6, batch_size=16, learning_rate=0.01)
LOOPS = {
  "loop": models.ScanOptions(1, "none"),
  "unrolled": models.ScanOptions(1000, "elementwise"),
  "groups": models.ScanOptions(1, "group"),
}


def test_a_block_adds_the_values_that_stay():
  """As they are: 0 or x, half of each within five standard errors; without a draw their expectation."""
  net = Model(depth=14, shortcut="dropout")
  block, x = blocks.Block(16, 1, net), jax.random.uniform(jax.random.key(0), (4, 8, 8, 16), minval=1, maxval=2)
  variables = block.init(jax.random.key(1), x, False)
  keys = [jax.random.key_data(jax.random.key(seed)) for seed in (7, 8)]
  added, other = (np.asarray(block.apply(variables, x, False, jnp.zeros_like, survival=key)) for key in keys)
  stays = added != 0
  np.testing.assert_array_equal(added[stays], np.asarray(x)[stays])
  five_errors = 5 * 0.5 / stays.size**0.5
  assert abs(stays.mean() - 0.5) < five_errors and abs(((other != 0) == stays).mean() - 0.5) < five_errors
  kept = []
  y = block.apply(variables, x, False, lambda f: kept.append(f) or f, survival=keys[0])
  np.testing.assert_allclose(y, jax.nn.relu(kept[0] + added), rtol=1e-5, atol=1e-6)
  expected, _ = block.apply(variables, x, True, jnp.zeros_like, mutable=["batch_stats"])
  np.testing.assert_allclose(expected, 0.5 * x, rtol=1e-6)


def test_draws_are_of_key_step_and_block():
  keys = jax.random.split(jax.random.key(3), 2)
  drawn = [dropout.draw(NET, key, number) for key in keys for number in (0, 1)]
  assert drawn[0].shape == (6, 2) and len(np.unique(np.concatenate(drawn), axis=0)) == 24
  np.testing.assert_array_equal(drawn[1], dropout.draw(NET, keys[0], jnp.int32(1)))
  for other in ({"shortcut": "half"}, {"kind": "plain"}):
    assert dropout.draw(dataclasses.replace(NET, **other), keys[0], 0) is None
  with pytest.raises(ConfigError, match=r"model\.survival = 0\.5: not with model.shortcut = 'dropout'"):
    dataclasses.replace(NET, survival=0.5)


def test_masks_are_the_same_however_the_blocks_are_executed():
  """Logits and gradients, to the rounding of float32 sums in another order; without a draw it is another network."""
  net = random_networks.net(NET, 8)
  images = jax.random.normal(jax.random.key(1), (8, 8, 8, 1))
  drawn = dropout.draw(NET, jax.random.key(2), 5)

  def of(loop, drawn):
    build = models.build(NET, 10, LOOPS[loop])

    def total(params):
      logits, _ = build.apply(net.variables | {"params": params}, images, True, drawn, mutable=["batch_stats"])
      return jnp.square(logits).sum(), logits

    slopes, logits = jax.jit(jax.grad(total, has_aux=True))(net.variables["params"])
    return [logits, *jax.tree.leaves(slopes)]

  first = of("loop", drawn)
  for loop in ("unrolled", "groups"):
    for one, same in zip(first, of(loop, drawn), strict=True):
      np.testing.assert_allclose(one, same, rtol=1e-3, atol=1e-4 * np.abs(one).max())
  assert np.abs(first[0] - of("loop", None)[0]).max() > 0.1 * np.abs(first[0]).max()


@pytest.fixture(scope="module")
def training_set():
  digits = data.load(DIGITS)
  return step.TrainingData(digits.train_images, digits.train_labels, statistics(digits.train_images, DIGITS))


def train(seeds, training_set, stops=(6,)):
  """Returns the states after the last of the stops, and the losses of the runs between them, [stops, seeds]."""
  states = batched_runs.stack([state.initial(NET, TRAIN, 10, (8, 8, 1), seed) for seed in seeds])
  program = step.Program(models.build(NET, 10), TRAIN, DIGITS)
  hyperparameters, losses = batched_runs.hyperparameters([TRAIN] * len(seeds)), []
  for stop in stops:
    states, intervals = step.train_steps(program, 6, states, hyperparameters, training_set, jnp.int32(stop))
    losses.append(intervals.loss)
  return jax.device_get((states, losses))


def test_training_cut_anywhere_is_the_same_to_the_bit_and_runs_of_one_program_are_as_alone(training_set, monkeypatch):
  """Vectorized losses to 1e-3, as for all runs of one program: another mask would be seen in the first digit."""
  (whole, (loss,)), (cut, _) = train([3], training_set), train([3], training_set, (1, 4, 6))
  jax.tree.map(np.testing.assert_array_equal, whole, cut)
  monkeypatch.setitem(batched_runs.FORM_OF_PLATFORM, jax.default_backend(), "vmap")
  jax.clear_caches()
  _, (losses,) = train([4, 3], training_set)
  jax.clear_caches()
  assert float(losses[1]) == pytest.approx(float(loss[0]), rel=1e-3)
  assert float(losses[0]) != pytest.approx(float(loss[0]), rel=1e-3)
