"""The best learning rate by depth: fits to synthetic losses with a known exponent, and the section of the report."""

import math

import numpy as np
import pandas as pd
import pytest

from resjax import analysis, config, records, study_records
from resjax.analysis import learning_rates, page
from resjax.analysis.sections import learning_rate as section

BLOCKS = {6: 2, 14: 6, 38: 18, 110: 54}  # number of blocks of two layers by depth
RATES = [2.0 ** (half / 2) for half in range(-18, 1)]


def loss_at(rate, best):
  """Returns a loss that is parabolic in the logarithms, and NaN from two octaves above the best rate on."""
  away = math.log2(rate / best)
  return 0.01 * 2 ** (away**2 / 2) if away < 2 else math.nan


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
      place |= {"branch_scale": 0.0, "initialization": "he"}
      rows += [{**place, "rate": rate, "loss": loss_at(rate, best)} for rate in rates]
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


def test_a_minimum_next_to_divergence_is_an_optimum():
  rate, optimum = learning_rates.best_rate([1, 2, 4, 8, 16], [8, 4, 2, math.nan, math.nan])
  assert optimum == learning_rates.INSIDE
  assert 2 <= rate <= 8


def test_depths_without_an_optimum_are_omitted_from_the_fit():
  runs = synthetic_sweep(-1.5)  # with 54 blocks the best rate is below the lowest of the sweep
  best = learning_rates.optima(runs)
  assert set(best[best["depth"] == 110]["optimum"]) == {learning_rates.LOWEST}
  fitted = learning_rates.exponents(runs, best)
  assert fitted["depths"].item() == 3
  assert fitted["exponent"].item() == pytest.approx(-1.5)
  too_few = learning_rates.exponents(runs, best[best["depth"] > 6])
  assert too_few["depths"].item() == 2 and math.isnan(too_few["exponent"].item())


def write_run(root, depth, seed, rate, best, name="", **settings):
  """Writes a run directory with the loss of `loss_at` in its last epoch.

  Args:
    root: Directory of the experiment.
    depth: Depth of the network.
    seed: Seed of the run.
    rate: Learning rate.
    best: Best learning rate of the network.
    name: Suffix of the network's name.
    **settings: Values of further settings of model or train.
  """
  loss = loss_at(rate, best)
  run = f"residual-A-d{depth}{name}-learning_rate_{rate:.4g}-s{seed}"
  model = {"family": "mlp", "block": "dense", "width": 64, "depth": depth}
  train = {"learning_rate": rate}
  for key, value in settings.items():
    (train if key == "rate_scale" else model)[key] = value
  with records.RunWriter(root / run) as writer:
    writer.update(id=run, kind="residual", depth=depth, shortcut="A", seed=seed, step=200, steps=200)
    writer.write_config(config.freeze({"model": model, "train": train, "seed": seed}).to_dict())
    if math.isnan(loss):
      writer.update(status=records.FAILED, reason="the loss is not finite at step 3")
      return
    line = {"split": "train", "error": 0.1, "images": 64, "learning_rate": rate}
    lines = [(100, 1.0, 5.0), (150, 1.5, 1.5 * loss), (200, 2.0, loss / 2)]  # two lines are of the last epoch
    writer.append("metrics", [{**line, "step": step, "epoch": epoch, "loss": value} for step, epoch, value in lines])
    result = {"train_error": 0.1, "test_error": 0.2, "test_images": 100, "best_test_error": 0.2, "best_step": 200}
    writer.update(status=records.DONE, result=result)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
  """Returns the directory of a sweep of two parametrizations at three depths.

  The best rate of the first is 1/8 at all depths, that of the second is 1/2 divided by the number of blocks.
  """
  root = tmp_path_factory.mktemp("sweep") / "learning_rate_depth"
  for depth, blocks in ((6, 2), (14, 6), (30, 14)):
    for name, best, settings in (("", 0.125, {}), ("-branch_scale_0.5", 0.5 / blocks, {"branch_scale": 0.5})):
      for rate in [best * 4.0**octave for octave in range(-2, 3)]:
        write_run(root, depth, 0, rate, best, name, **settings)
  with study_records.writer(root / "residual-A-d6-learning_rate_0.125-s0") as writer:
    lines = [{"step": 200, "index": i, "eigenvalue": 8.0 / i, "images": 64, "seed": 0} for i in (1, 2)]
    writer.append("hessian", lines)
  return root


def test_the_section_compares_the_exponent_with_predictions(sweep):
  found = section.build(analysis.load(sweep))
  assert found is not None
  recipe, scaled = found.findings
  assert recipe.startswith("the recipe: the best learning rate scales as L to the power ")
  assert "Of the claims −1.5, −1, 0 and +1 the interval contains 0; 2a − 1 = −1 is outside." in recipe
  assert scaled.startswith("branch scale 0.5: the best learning rate scales as L to the power −1.00 ")
  assert "the interval contains −1; 2a − 1 = 0 is outside." in scaled
  names = [panel.name for panel in found.panels]
  assert names == ["rates-residual-A", "rates-residual-A-branch_scale_0.5", "best-rates", "sharpness"]
  curves = found.data["learning_rates"]
  assert list(curves[curves["diverged"] > 0].groupby("series")["rate"].size()) == [6, 6]  # two of five rates diverge


def test_the_loss_is_the_mean_of_the_last_epoch(sweep):
  runs = learning_rates.swept_runs(analysis.load(sweep)).set_index("id")
  assert runs.loc["residual-A-d6-learning_rate_0.125-s0", "loss"] == pytest.approx((1.5 + 0.5) / 2 * 0.01)


def test_the_sharpness_is_the_largest_eigenvalue_times_the_rate(sweep):
  logs = analysis.load(sweep)
  found = learning_rates.sharpness(logs, learning_rates.swept_runs(logs))
  assert list(found["product"]) == [8.0 / 8]


def test_other_sections_have_the_best_rate_only(sweep):
  tuned = learning_rates.at_best_rates(analysis.load(sweep))
  rates = {"": (0.125, 0.125, 0.125), "-branch_scale_0.5": (0.25, 0.5 / 6, 0.5 / 14)}
  assert sorted(tuned.runs["id"]) == sorted(
    f"residual-A-d{depth}{name}-learning_rate_{rate:.4g}-s0"
    for name, best in rates.items()
    for depth, rate in zip((6, 14, 30), best, strict=True)
  )
  assert {net.label for net in tuned.networks} >= {"ResNet-6", "ResNet-6 branch_scale_0.5"}
  assert set(tuned.metrics["id"]) == set(tuned.runs["id"])
  assert "Best learning rate by depth" in page.build(sweep).read_text("utf-8")
  assert (sweep / "tables" / "errors.csv").read_text().count("\n") == 1 + 6


def test_an_experiment_with_few_learning_rates_is_no_sweep(tmp_path):
  for rate in (0.1, 0.2, 0.4, 0.8):
    write_run(tmp_path, 6, 0, rate, 0.3)
  logs = analysis.load(tmp_path)
  assert section.build(logs) is None
  assert learning_rates.at_best_rates(logs) is logs


def test_the_learning_rate_includes_the_scaling_with_depth(tmp_path):
  for half in range(5):
    write_run(tmp_path, 110, 0, 2.0**-half, 1.0, rate_scale=-0.5)
  runs = learning_rates.swept_runs(analysis.load(tmp_path))
  settings = config.freeze({"model": {"depth": 110}, "train": {"learning_rate": 1.0, "rate_scale": -0.5}})
  applied = settings.scaled_train.learning_rate  # scaled by the number of blocks
  assert sorted(runs["rate"]) == pytest.approx([applied * 2.0**-half for half in range(4, -1, -1)])
