"""The learning rate and its warm-up, and SGD, against plain references."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax.config import Model, Train
from resjax.train import optimizer, schedule

SHALLOW, DEEP = Model(depth=20), Model(depth=110)


def rates(train: Train, steps, model=SHALLOW):
  warmup = schedule.start(model, train)
  return [float(schedule.rate(train, warmup, jnp.int32(step))) for step in steps]


def test_the_papers_rate_drops_after_32k_and_48k_of_64k():
  steps = (0, 31_999, 32_000, 47_999, 48_000, 63_999)
  np.testing.assert_allclose(rates(Train(), steps), (0.1, 0.1, 0.01, 0.01, 0.001, 0.001), rtol=1e-6)


def test_a_shortened_run_drops_in_proportion():
  np.testing.assert_allclose(rates(Train(steps=10), (4, 5, 6, 7, 8)), (0.1, 0.01, 0.01, 0.01, 0.001), rtol=1e-6)


def test_a_rate_without_drops_is_constant():
  assert len(set(rates(Train(drops=()), range(0, 64_000, 1000)))) == 1


@pytest.mark.parametrize(
  ("model", "warmup", "expected"),
  [
    (Model(depth=104), "auto", False),
    (Model(depth=110), "auto", True),
    (Model(depth=1202), "auto", True),
    (Model(depth=110, kind="plain"), "auto", False),
    (Model(depth=20), "on", True),
    (Model(depth=110), "off", False),
  ],
)
def test_who_warms_up(model, warmup, expected):
  train = Train(warmup=warmup)
  assert schedule.uses_warmup(model, train) == expected
  assert bool(schedule.start(model, train).active) == expected
  assert rates(train, [0], model)[0] == pytest.approx(0.01 if expected else 0.1)


def test_the_warm_up_ends_when_a_whole_window_is_below():
  train = Train(warmup_window=4, warmup_error=0.8)
  warmup = schedule.start(DEEP, train)
  errors = [0.9, 0.6, 0.9, 0.9, 0.9, 0.7, 0.6, 0.9, 0.9]  # 0.75 < 0.8 first after the seventh: (0.9, 0.9, 0.7, 0.6)
  ended = []
  for step, error in enumerate(errors):
    warmup = schedule.advance(warmup, train, jnp.int32(step), jnp.float32(error))
    ended.append(int(warmup.ended))
  assert ended == [-1, -1, -1, -1, -1, -1, 7, 7, 7]
  assert not warmup.active
  assert float(schedule.rate(train, warmup, jnp.int32(8))) == pytest.approx(0.1)


def test_one_lucky_batch_does_not_end_the_warm_up():
  train = Train(warmup_window=100)
  warmup = schedule.advance(schedule.start(DEEP, train), train, jnp.int32(0), jnp.float32(0.0))
  assert warmup.active


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay_norm_and_bias", [False, True])
def test_sgd_equals_a_plain_loop(nesterov, decay_norm_and_bias):
  train = Train(nesterov=nesterov, decay_norm_and_bias=decay_norm_and_bias, weight_decay=0.05)
  rng = np.random.default_rng(0)
  shapes = {"kernel": (3, 3, 2, 4), "scale": (4,), "bias": (4,)}
  params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
  plain, velocity = dict(params), {name: np.zeros(shape) for name, shape in shapes.items()}
  direction_of = optimizer.make(train)
  state = direction_of.init(params)
  for _ in range(5):
    gradients = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    direction, state = direction_of.update(gradients, state, params)
    params = jax.tree.map(lambda p, d: p - 0.1 * d, params, direction)
    for name, gradient in gradients.items():
      decays = decay_norm_and_bias or name == "kernel"
      gradient = gradient + 0.05 * decays * plain[name]
      velocity[name] = 0.9 * velocity[name] + gradient
      plain[name] = plain[name] - 0.1 * (gradient + 0.9 * velocity[name] if nesterov else velocity[name])
  for name in shapes:  # five float32 steps against float64 ones
    np.testing.assert_allclose(params[name], plain[name], rtol=1e-5, atol=1e-5)


def test_train_settings_are_hashable():
  """They are static arguments of compiled programs: equal settings must be one program."""
  assert hash(Train()) == hash(dataclasses.replace(Train()))
