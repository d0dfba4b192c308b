"""Learning rate schedules, warm-up and SGD against plain references."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax.config import Model, Train, uses_warmup
from resjax.train import optimizer, schedule

SHALLOW, DEEP = Model(depth=20), Model(depth=110)


def rates(train: Train, steps, model=SHALLOW):
  """Returns the learning rates at steps."""
  warmup = schedule.initial_warmup(model, train)
  return [float(schedule.rate(train, warmup, schedule.initial_plateau(), jnp.int32(step))) for step in steps]


def test_the_learning_rate_of_the_paper_drops_after_32000_and_48000_steps():
  steps = (0, 31_999, 32_000, 47_999, 48_000, 63_999)
  np.testing.assert_allclose(rates(Train(), steps), (0.1, 0.1, 0.01, 0.01, 0.001, 0.001), rtol=1e-6)


def test_drops_are_proportional_to_the_number_of_steps():
  np.testing.assert_allclose(rates(Train(steps=10), (4, 5, 6, 7, 8)), (0.1, 0.01, 0.01, 0.01, 0.001), rtol=1e-6)


def test_a_learning_rate_without_drops_is_constant():
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
def test_deep_residual_networks_warm_up_by_default(model, warmup, expected):
  train = Train(warmup=warmup)
  assert uses_warmup(model, train) == expected
  assert bool(schedule.initial_warmup(model, train).active) == expected
  assert rates(train, [0], model)[0] == pytest.approx(0.01 if expected else 0.1)


def test_the_warm_up_ends_when_the_mean_error_of_a_window_is_low():
  train = Train(warmup_window=4, warmup_error=0.8)
  warmup = schedule.initial_warmup(DEEP, train)
  errors = [0.9, 0.6, 0.9, 0.9, 0.9, 0.7, 0.6, 0.9, 0.9]  # the mean of four is below 0.8 after the seventh
  ended = []
  for step, error in enumerate(errors):
    warmup = schedule.update_warmup(warmup, train, jnp.int32(step), jnp.float32(error))
    ended.append(int(warmup.ended))
  assert ended == [-1, -1, -1, -1, -1, -1, 7, 7, 7]
  assert not warmup.active
  assert float(schedule.rate(train, warmup, schedule.initial_plateau(), jnp.int32(8))) == pytest.approx(0.1)


def test_a_single_batch_does_not_end_the_warm_up():
  train = Train(warmup_window=100)
  warmup = schedule.update_warmup(schedule.initial_warmup(DEEP, train), train, jnp.int32(0), jnp.float32(0.0))
  assert warmup.active


def scales(train: Train, errors: list[float], model: Model = SHALLOW) -> list[float]:
  """Returns the learning rate after each evaluation, relative to the initial one."""
  plateau, warmup = schedule.initial_plateau(), schedule.initial_warmup(model, train)
  found = []
  for error in errors:
    plateau = schedule.update_plateau(train, plateau, warmup, error)
    found.append(float(schedule.rate(train, dataclasses.replace(warmup, active=jnp.bool_(False)), plateau, 7) / 0.1))
  return found


def reference_scales(train: Train, errors: list[float]) -> list[float]:
  """Returns the same by the definition: the rate drops after `patience` evaluations without a new best."""
  best, waited, scale, found = float("inf"), 0, 1.0, []
  for error in errors:
    if error < best - train.plateau_gain:
      best, waited = error, 0
    else:
      waited += 1
    if waited == train.plateau_patience:
      scale, waited = scale * train.drop_factor, 0
    found.append(scale)
  return found


@pytest.mark.parametrize("seed", range(5))
def test_the_plateau_schedule_follows_its_definition(seed):
  rng = np.random.default_rng(seed)
  errors = [float(error) for error in 0.9 * 0.9 ** np.arange(40) + 0.05 * rng.random(40)]
  train = Train(schedule="plateau", plateau_patience=3, plateau_gain=0.002, drop_factor=0.3)
  expected = reference_scales(train, errors)
  assert expected[-1] < expected[0]
  np.testing.assert_allclose(scales(train, errors), expected, rtol=1e-5)  # powers of 0.3 in float32


def test_a_falling_error_does_not_change_the_learning_rate():
  train = Train(schedule="plateau", plateau_patience=1)
  np.testing.assert_allclose(scales(train, [0.9, 0.8, 0.7, 0.6]), 1.0, rtol=1e-6)


def test_evaluations_during_the_warm_up_are_not_counted():
  train = Train(schedule="plateau", plateau_patience=2, warmup="on")
  np.testing.assert_allclose(scales(train, [0.95] * 9), 1.0, rtol=1e-6)


def test_the_cosine_schedule_falls_to_zero():
  train = Train(steps=100, schedule="cosine")
  expected = [0.05 * (1 + np.cos(np.pi * step / 100)) for step in (0, 25, 50, 99)]
  np.testing.assert_allclose(rates(train, (0, 25, 50, 99)), expected, rtol=1e-4, atol=1e-8)  # the cosine is near -1


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay_norm_and_bias", [False, True])
def test_sgd_follows_its_definition(nesterov, decay_norm_and_bias):
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
  for name in shapes:  # five steps in float32 and in float64
    np.testing.assert_allclose(params[name], plain[name], rtol=1e-5, atol=1e-5)


def test_equal_settings_have_equal_hashes():
  """Settings are static arguments of compiled programs, so equal settings must use one program."""
  assert hash(Train()) == hash(dataclasses.replace(Train()))
