"""Training, evaluation and captures of responses on the digits, against plain references."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from resjax import config, data, models
from resjax.config import Model, Responses, Train
from resjax.data.augment import normalize
from resjax.models import layout
from resjax.models.response_statistics import COLLECTION
from resjax.train import batched_runs, evaluate, optimizer, responses, state, step
from tests import digits_training
from tests.random_networks import DIGITS

NET = Model(depth=8)
TRAIN = Train(steps=20, batch_size=32)


@pytest.fixture(scope="module")
def digits():
  return data.load(DIGITS)


@pytest.fixture(scope="module")
def training_set():
  return digits_training.training_set(DIGITS)


def start():
  """Returns the state before the first step."""
  return state.initial(NET, TRAIN, 10, (8, 8, 1), seed=0)


def advance(net, train, current, images, stop, most=20):
  """Trains one run from its current state up to the step `stop`; returns its state and the sums over the interval."""
  states, intervals = step.train_steps(
    step.Program(net, train, DIGITS),
    most,
    batched_runs.stack([current]),
    batched_runs.hyperparameters([train]),
    images,
    jnp.int32(stop),
  )
  return jax.tree.map(lambda leaf: leaf[0], (states, intervals))


def train_in_intervals(training_set, stops):
  """Returns the state after the last stop, and the sums over each interval."""
  net, current, intervals = models.build(NET, 10), start(), []
  for stop in stops:
    current, interval = advance(net, TRAIN, current, training_set, stop)
    intervals.append(jax.device_get(interval))
  return current, intervals


@pytest.fixture(scope="module")
def after_twenty(training_set):
  return train_in_intervals(training_set, [20])


def variables(current):
  return {"params": current.params, "batch_stats": current.batch_stats}


def test_the_loss_falls(after_twenty):
  _, (interval,) = after_twenty
  assert interval.steps == 20
  assert interval.bad == -1
  assert interval.loss / 20 < np.log(10)


def test_training_in_other_intervals_is_bit_identical(training_set, after_twenty):
  """An interrupted run executes the same program on the same hyperparameters."""
  whole, (interval,) = after_twenty
  cut, parts = train_in_intervals(training_set, [1, 7, 20])
  assert layout.digest(cut.params) == layout.digest(whole.params)
  assert sum(part.steps for part in parts) == 20
  assert sum(part.loss for part in parts) == pytest.approx(interval.loss, rel=1e-5)  # sums in another order


def test_programs_are_traced_once_for_all_intervals_seeds_and_learning_rates(digits, training_set, monkeypatch):
  """Initialization, training and evaluation have one trace each."""
  net, traced = Model(depth=8, norm_epsilon=2e-5), []  # a network that no other test has traced
  call = models.resnet.ResNet.__call__

  def counting(self, images, train, kept=None):
    traced.append(train)
    return call(self, images, train, kept)

  monkeypatch.setattr(models.resnet.ResNet, "__call__", counting)
  build = models.build(net, 10)
  train = dataclasses.replace(TRAIN, warmup="on")
  for seed, rate in enumerate((0.1, 0.05, 0.01)):
    current = state.initial(net, train, 10, (8, 8, 1), seed)
    hyperparameters = batched_runs.hyperparameters(
      [dataclasses.replace(train, learning_rate=rate, weight_decay=rate / 100)]
    )
    states = batched_runs.stack([current])
    for stop in (3, 4, 20):
      states, _ = step.train_steps(
        step.Program(build, train, DIGITS), 20, states, hyperparameters, training_set, jnp.int32(stop)
      )
      tree = {"params": states.params, "batch_stats": states.batch_stats}
      one = jax.tree.map(lambda leaf: leaf[0], tree)
      evaluate.evaluate(build, 360, one, digits.test_images, digits.test_labels, training_set.statistics)
  assert sorted(traced) == [False, False, True]  # initialization and evaluation; training


def test_batched_runs_agree_with_separate_runs_to_rounding(training_set):
  """One of three runs has another learning rate and weight decay.

  Momentum after one step agrees to 1e-5, and ten losses agree to 1e-3, the contract's bound.
  """
  net = models.build(NET, 10)
  trains = [TRAIN, TRAIN, dataclasses.replace(TRAIN, learning_rate=0.05, weight_decay=1e-3)]
  starts = [state.initial(NET, TRAIN, 10, (8, 8, 1), seed) for seed in (3, 4, 5)]
  states, losses = batched_runs.stack(starts), []
  for stop in range(1, 11):
    states, intervals = step.train_steps(
      step.Program(net, TRAIN, DIGITS), 20, states, batched_runs.hyperparameters(trains), training_set, jnp.int32(stop)
    )
    losses.append(intervals.loss)
    if stop == 1:
      first = jax.device_get(states.optimizer)
  for run, (train, alone) in enumerate(zip(trains, starts, strict=True)):
    for stop in range(1, 11):
      alone, interval = advance(net, train, alone, training_set, stop)
      assert float(losses[stop - 1][run]) == pytest.approx(float(interval.loss), rel=1e-3)
      if stop == 1:  # momentum after one step is the gradient

        def close(one, other):
          np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.linalg.norm(other))

        jax.tree.map(lambda one, other, run=run: close(one[run], other), first, jax.device_get(alone.optimizer))
    assert int(alone.step) == int(states.step[run]) == 10
  assert len({float(loss) for loss in losses[-1]}) == 3


def test_a_step_equals_a_plain_one():
  """Loss, error and parameters after one step are those of optax's SGD."""
  images = jax.random.normal(jax.random.key(1), (16, 8, 8, 1))
  labels = jnp.arange(16) % 10
  before = start()
  net = models.build(NET, 10)
  after, loss, wrong, rate = jax.jit(step.train_step, static_argnums=(0, 1))(net, TRAIN, before, images, labels)

  def loss_of(params):
    collections = {"params": params, "batch_stats": before.batch_stats}
    logits, _ = net.apply(collections, images, train=True, mutable=["batch_stats"])
    return -jax.nn.log_softmax(logits)[jnp.arange(16), labels].mean(), logits

  (expected, logits), gradients = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(before.params)
  sgd = optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, momentum=0.9))
  updates, _ = sgd.update(gradients, sgd.init(before.params), before.params)
  params = optax.apply_updates(before.params, updates)
  assert float(loss) == pytest.approx(float(expected), rel=1e-5)
  assert float(wrong) == np.mean(np.argmax(logits, -1) != labels)
  assert float(rate) == pytest.approx(0.1)
  assert int(after.step) == 1
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), after.params, params)


def test_adagrad_divides_by_the_root_of_the_sum_of_squares():
  """Three steps are those of PyTorch's formula, with weight decay as part of the gradient."""
  train, rng = Train(optimizer="adagrad", weight_decay=0.1), np.random.default_rng(0)
  params = {"kernel": rng.normal(size=5).astype(np.float32)}
  chain = optimizer.make(train)
  own, total = chain.init(params), 0.0
  for gradient in rng.normal(size=(3, 5)).astype(np.float32):
    direction, own = chain.update({"kernel": gradient}, own, params)
    decayed = gradient + 0.1 * params["kernel"]
    total += decayed**2
    np.testing.assert_allclose(direction["kernel"], decayed / (np.sqrt(total) + 1e-10), rtol=1e-5)


def test_the_first_step_whose_loss_is_not_finite_is_reported(training_set):
  hot = dataclasses.replace(TRAIN, learning_rate=1e38)
  net = models.build(NET, 10)
  _, interval = advance(net, hot, start(), training_set, 20)
  bad = int(interval.bad)
  assert 1 < bad <= 20
  _, earlier = advance(net, hot, start(), training_set, bad - 1)
  assert int(earlier.bad) == -1


@pytest.mark.parametrize("batch_size", [7, 360, 512])
def test_evaluation_counts_every_image_once(digits, training_set, after_twenty, batch_size):
  current, _ = after_twenty
  net = models.build(NET, 10)
  loss, wrong = evaluate.evaluate(
    net, batch_size, variables(current), digits.test_images, digits.test_labels, training_set.statistics
  )
  logits = net.apply(variables(current), normalize(digits.test_images, training_set.statistics), train=False)
  losses = -jax.nn.log_softmax(logits)[jnp.arange(360), digits.test_labels]
  assert int(wrong) == int((logits.argmax(-1) != digits.test_labels).sum())
  assert float(loss) == pytest.approx(float(losses.sum()), rel=1e-5)


def test_statistics_of_the_training_set_are_means_over_batches(training_set, after_twenty):
  """Those of the first norm are compared with means and variances of the output of the first convolution."""
  current, _ = after_twenty
  net = models.build(NET, 10)
  averaged = evaluate.training_set_statistics(
    net, 256, variables(current), training_set.images, training_set.statistics
  )
  images = normalize(np.resize(training_set.images, (6 * 256, 8, 8, 1)), training_set.statistics)
  kernel = current.params["stem"]["conv"]["kernel"]
  outputs = jax.lax.conv_general_dilated(
    images, kernel, (1, 1), [(1, 1), (1, 1)], dimension_numbers=("NHWC", "HWIO", "NHWC")
  )
  batches = np.asarray(outputs, np.float64).reshape(6, -1, 16)
  # float32 sums of 16,384 values against float64 ones
  np.testing.assert_allclose(averaged["stem"]["norm"]["mean"], batches.mean(1).mean(0), rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(averaged["stem"]["norm"]["var"], batches.var(1).mean(0), rtol=1e-4)


def capture(current, training_set, digits, **settings):
  """Returns the lines of responses of a state on 256 test images."""
  chosen = Responses(images=256, batch_size=128, **settings)
  build = models.build(NET, 10)
  moments = responses.capture(build, chosen, variables(current), digits.test_images, training_set.statistics)
  table = NET.net((8, 8, 1), 10).table
  return responses.lines(chosen, 20, table, moments)


@pytest.mark.parametrize("mode", ["running", "batch"])
def test_responses_are_those_of_stored_activations(digits, training_set, after_twenty, mode):
  """They agree with float64 statistics of each norm's stored float32 outputs to a relative 1e-5."""
  current, _ = after_twenty
  net = models.build(NET, 10)
  kept = []
  for batch in np.split(digits.test_images[:256], 2):
    images = normalize(batch, training_set.statistics)
    mutable = ["intermediates", "batch_stats"]
    _, sown = net.apply(variables(current), images, train=mode == "batch", mutable=mutable, capture_intermediates=True)
    kept.append(traverse_util.flatten_dict(sown["intermediates"], sep="/"))
  rows = capture(current, training_set, digits, mode=mode)
  names = ["stem/conv"] + [f"stage{s}/block1/conv{i}" for s in (1, 2, 3) for i in (1, 2)]
  assert [row["name"] for row in rows] == names
  assert [row["layer"] for row in rows] == list(range(1, 8))
  channels = capture(current, training_set, digits, mode=mode, pooling="channels")
  for row, by_channel in zip(rows, channels, strict=True):
    norm = row["name"].replace("conv", "norm")
    outputs = np.concatenate([np.asarray(each[f"{norm}/__call__"][0], np.float64) for each in kept])
    assert row["units"] == outputs[0].size
    assert row["images"] == 256
    assert row["std"] == pytest.approx(outputs.std(), rel=1e-5)
    assert row["mean"] == pytest.approx(outputs.mean(), rel=1e-5, abs=1e-6)
    assert by_channel["std"] == pytest.approx(outputs.std((0, 1, 2)).mean(), rel=1e-5)


def test_responses_with_batch_statistics_follow_from_scales_and_biases(digits, training_set, after_twenty):
  """The variance is the mean of gamma^2 v / (v + eps) over channels, plus the variance of beta over channels."""
  current, _ = after_twenty
  for row in capture(current, training_set, digits, mode="batch"):
    stage, block, conv = row["name"].split("/") if row["stage"] else ("stem", None, "conv")
    params = current.params[stage][block] if block else current.params[stage]
    norm = params[conv.replace("conv", "norm")]
    gamma, beta = np.asarray(norm["scale"], np.float64), np.asarray(norm["bias"], np.float64)
    expected = np.sqrt((gamma**2).mean() + beta.var())  # v / (v + eps) is 1 to 1e-3 for the variances here
    assert row["std"] == pytest.approx(expected, rel=2e-3)


def test_the_first_convolution_can_be_omitted(digits, training_set, after_twenty):
  current, _ = after_twenty
  rows = capture(current, training_set, digits, first_conv=False)
  assert rows[0]["name"] == "stage1/block1/conv1"
  assert [row["layer"] for row in rows] == list(range(1, 7))


def test_the_training_step_computes_no_responses(training_set):
  """Responses are among the outputs of a forward pass only if their collection is mutable."""
  net = models.build(NET, 10)
  images = jnp.zeros((8, 8, 8, 1))
  current = start()
  plain = jax.jit(lambda tree: net.apply(tree, images, train=True, mutable=["batch_stats"]))
  probed = jax.jit(lambda tree: net.apply(tree, images, train=True, mutable=["batch_stats", COLLECTION]))
  assert COLLECTION not in plain.eval_shape(variables(current))[1]
  assert COLLECTION in probed.eval_shape(variables(current))[1]


def test_the_default_recipe_deviates_from_the_paper_in_the_batch_of_statistics_only():
  assert config.Config().deviations() == [{"name": "model.norm_images", "paper": 64, "here": 0}]
