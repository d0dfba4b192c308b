"""The best learning rate by depth: fits to synthetic losses with a known exponent."""

import math

import numpy as np
import pandas as pd
import pytest

from resjax.analysis import learning_rates
from tests import synthetic_runs

BLOCKS = {6: 2, 14: 6, 38: 18, 110: 54}  # number of blocks of two layers by depth
PARAMETRIZATION = {
  **{
    "kind": "residual",
    "norm": "none",
    "optimizer": "sgd",
    "branch_scale": 0.0,
    "initialization": "he",
    "ended": True,
  },
}
RATES = [2.0 ** (half / 2) for half in range(-18, 1)]


def synthetic_sweep(exponent, seeds=2, noise=0.0, rates=RATES):
  """Returns the data frame of `swept_runs` for networks of L blocks whose best rate is L^exponent / 4.

  Args:
    exponent: Exponent of the best learning rate.
    seeds: Number of seeds.
    noise: Standard deviation of the best rate over seeds, in octaves.
    rates: Learning rates of the sweep.
  """
  rng = np.random.default_rng(0)
  rows = []
  for depth, blocks in BLOCKS.items():
    for seed in range(seeds):
      best = 0.25 * blocks**exponent * 2 ** (noise * rng.standard_normal())
      place = {"series": "residual-A", "depth": depth, "blocks": blocks, "seed": seed}
      place |= PARAMETRIZATION
      rows += [{**place, "rate": rate, "loss": synthetic_runs.parabolic_loss(rate, best)} for rate in rates]
  return pd.DataFrame(rows)


@pytest.mark.parametrize("exponent", [-1.5, -1.0, 0.0, 0.3])
def test_the_fit_finds_a_known_exponent(exponent):
  runs = synthetic_sweep(exponent, rates=[2.0 ** (half / 2) for half in range(-28, 5)])
  best = learning_rates.optima(runs)
  assert (best["optimum"] == learning_rates.INSIDE).all()
  np.testing.assert_allclose(best["rate"], 0.25 * best["blocks"] ** exponent, rtol=1e-9)
  fitted = learning_rates.exponents(runs, best)
  assert fitted["exponent"].item() == pytest.approx(exponent, abs=1e-9)
  assert fitted["rate_at_one"].item() == pytest.approx(0.25)
  assert fitted["predicted"].item() == -1


def test_the_interval_is_that_of_students_t_over_seeds():
  runs = synthetic_sweep(-0.5, seeds=3, noise=0.2)
  best = learning_rates.optima(runs)
  fitted = learning_rates.exponents(runs, best)
  slopes = [
    np.polyfit(np.log2(own["blocks"].astype(float)), np.log2(own["rate"]), 1)[0] for _, own in best.groupby("seed")
  ]
  half = 4.302653 * np.std(slopes, ddof=1) / np.sqrt(3)  # Student's t of two degrees of freedom at 97.5 %
  assert fitted["low"].item() == pytest.approx(np.mean(slopes) - half, rel=1e-5)
  assert fitted["high"].item() == pytest.approx(np.mean(slopes) + half, rel=1e-5)
  assert fitted["low"].item() < -0.5 < fitted["high"].item()


@pytest.mark.parametrize(
  ("losses", "says"),
  [
    ([1, 2, 3, 4, 5], learning_rates.LOWEST),
    ([5, 4, 3, 2, 1], learning_rates.HIGHEST),
    ([math.nan] * 5, learning_rates.UNSTABLE),
  ],
)
def test_a_minimum_at_an_end_of_the_sweep_is_no_optimum(losses, says):
  rate, optimum = learning_rates.best_rate([1, 2, 4, 8, 16], losses)
  assert math.isnan(rate) and optimum == says


@pytest.mark.parametrize("losses", [[8, 4, 2, math.nan, math.nan], [3, 2, 1.5, math.nan, math.nan]])
def test_a_minimum_next_to_divergence_is_the_optimum(losses):
  """The parabola through the losses of the second case would have its minimum where training diverged."""
  assert learning_rates.best_rate([1, 2, 4, 8, 16], losses) == (4, learning_rates.INSIDE)


def test_depths_without_an_optimum_are_omitted_from_the_fit():
  runs = synthetic_sweep(-1.5)  # with 54 blocks the best rate is below the lowest of the sweep
  best = learning_rates.optima(runs)
  assert set(best[best["depth"] == 110]["optimum"]) == {learning_rates.LOWEST}
  fitted = learning_rates.exponents(runs, best)
  assert fitted["depths"].item() == 3
  assert fitted["exponent"].item() == pytest.approx(-1.5)
  too_few = learning_rates.exponents(runs, best[best["depth"] > 6])
  assert too_few["depths"].item() == 2 and math.isnan(too_few["exponent"].item())


def test_only_seeds_with_three_depths_are_fitted():
  runs = synthetic_sweep(-1.0, rates=[2.0 ** (half / 2) for half in range(-28, 5)])
  best = learning_rates.optima(runs)
  one_seed = best[(best["seed"] == 0) | (best["depth"] == 6)]
  fitted = learning_rates.exponents(runs, one_seed).iloc[0]
  assert (fitted["depths"], fitted["seeds"], fitted["exponent"]) == (4, 1, pytest.approx(-1.0))
  assert (fitted["low"], fitted["high"]) == pytest.approx((-1.0, -1.0), abs=1e-6)  # of the exact fit
  spread = best[(best["seed"] == 0) == (best["depth"] <= 14)].query("depth != 38")  # two depths and one
  fitted = learning_rates.exponents(runs, spread).iloc[0]
  assert (fitted["depths"], fitted["seeds"]) == (3, 0) and math.isnan(fitted["exponent"])


def test_unfinished_sweeps_are_left_out_of_the_fit():
  runs = synthetic_sweep(-1.0, rates=[2.0 ** (half / 2) for half in range(-28, 5)])
  waiting = (runs["depth"] == 38) & (runs["seed"] == 1) & (runs["rate"] > 0.01)
  runs = runs.assign(ended=~waiting, loss=runs["loss"].mask(waiting))
  best = learning_rates.optima(runs)
  assert list(best[best["optimum"] == learning_rates.UNFINISHED][["depth", "seed"]].iloc[0]) == [38, 1]
  fitted = learning_rates.exponents(runs, best).iloc[0]
  assert (fitted["depths"], fitted["seeds"], fitted["unfinished"]) == (4, 2, 1)
  assert fitted["exponent"] == pytest.approx(-1.0)
  curve = learning_rates.loss_curves(runs).query("depth == 38").set_index("rate")
  assert curve["seeds"].iloc[0] == 2 and curve["seeds"].iloc[-1] == 1 and curve["diverged"].max() == 1


@pytest.mark.parametrize(
  ("change", "predicted", "published"),
  [
    ({}, -1.0, math.nan),
    ({"branch_scale": 0.5}, 0.0, 0.0),
    ({"branch_scale": 1.0}, 1.0, math.nan),
    ({"initialization": "depth"}, math.nan, -1.5),
    ({"kind": "plain"}, math.nan, math.nan),
    ({"norm": "batch"}, math.nan, math.nan),
    ({"optimizer": "adagrad"}, math.nan, math.nan),
  ],
)
def test_each_expected_exponent_belongs_to_its_parametrization(change, predicted, published):
  expected = learning_rates.expected_exponents(PARAMETRIZATION | change)
  np.testing.assert_equal(expected, (predicted, published))
