"""Sweeps of the learning rate from run directories: their best rates, and the section of the report."""

import math
import shutil

import pytest

from resjax import analysis, config, records, study_records
from resjax.analysis import learning_rates, page
from resjax.analysis.sections import learning_rate as section
from tests import synthetic_runs


def write_run(root, depth, seed, rate, best, name="", **settings):
  """Writes a run directory with the loss of `synthetic_runs.parabolic_loss` in its last epoch.

  Args:
    root: Directory of the experiment.
    depth: Depth of the network.
    seed: Seed of the run.
    rate: Learning rate.
    best: Best learning rate of the network.
    name: Suffix of the network's name.
    **settings: Values of further settings of model or train.
  """
  loss = synthetic_runs.parabolic_loss(rate, best)
  run = f"residual-A-d{depth}{name}-learning_rate_{rate:.4g}-s{seed}"
  model = {"family": "mlp", "block": "dense", "width": 64, "depth": depth, "norm": "none"}
  train = {"learning_rate": rate}
  for key, value in settings.items():
    (train if key == "rate_scale" else model)[key] = value
  with records.RunWriter(root / run) as writer:
    writer.update(id=run, kind="residual", depth=depth, shortcut="A", seed=seed, step=200, steps=200)
    writer.write_config(config.freeze({"model": model, "train": train, "seed": seed}).to_dict())
    if math.isnan(loss):
      writer.update(status=records.FAILED, reason=f"{records.DIVERGED} 3")
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
  for rate, mode, largest in ((0.03125, "running", 50.0), (0.125, "batch", 5.0), (0.125, "running", 8.0)):
    with study_records.writer(root / f"residual-A-d6-learning_rate_{rate}-s0") as writer:
      settings = {"step": 200, "images": 64, "mode": mode, "seed": 0}
      writer.append("hessian", [{**settings, "index": i, "eigenvalue": largest / i} for i in (1, 2)])
  return root


def test_the_section_compares_the_exponent_with_predictions(sweep):
  found = section.build(analysis.load(sweep))
  assert found is not None
  bare, scaled = found.findings
  assert bare.startswith("no further setting: the best learning rate scales as L to the power ")
  assert bare.endswith("; 3 depths, 1 seed). The expected exponent 2a − 1 = −1 is outside the interval.")
  assert scaled.startswith(
    "branch scale 0.5: the best learning rate scales as L to the power −1.00 (95% interval of the"
  )
  assert scaled.endswith("The published exponent 0, which is also 2a − 1, is outside the interval.")
  assert [row[5:7] for row in found.tables[0].rows] == [["−1, outside", "–"], ["0, outside", "0, outside"]]
  assert found.caption.endswith("Settings of all networks: residual, A.")
  names = [panel.name for panel in found.panels]
  assert names == ["rates-residual-A", "rates-residual-A-branch_scale_0.5", "best-rates", "sharpness"]
  curves = found.data["learning_rates"]
  assert list(curves[curves["diverged"] > 0].groupby("series")["rate"].size()) == [6, 6]  # two of five rates diverge


def test_the_loss_is_the_mean_of_the_last_epoch(sweep):
  runs = learning_rates.swept_runs(analysis.load(sweep)).set_index("id")
  assert runs.loc["residual-A-d6-learning_rate_0.125-s0", "loss"] == pytest.approx((1.5 + 0.5) / 2 * 0.01)


def test_the_sharpness_is_that_of_the_studied_run_nearest_to_the_best_rate(sweep):
  logs = analysis.load(sweep)
  runs = learning_rates.swept_runs(logs)
  (found,) = learning_rates.sharpness(logs, runs, learning_rates.optima(runs)).to_dict("records")
  assert (found["rate"], found["eigenvalue"], found["product"]) == (0.125, 8.0, 1.0)  # not at half of the best rate
  assert found["best_rate"] == pytest.approx(0.125)
  assert found["limit"] == pytest.approx(3.8)  # 2 (1 + m) with momentum 0.9
  without = learning_rates.sharpness(logs, runs, learning_rates.optima(runs).assign(optimum=learning_rates.LOWEST))
  assert without.empty


@pytest.fixture
def interrupted(sweep, tmp_path):
  """Returns a copy of the sweep in which some runs wait, are interrupted, or failed for another reason."""
  root = tmp_path / "learning_rate_depth"
  shutil.copytree(sweep, root)
  for run, change in (
    ("residual-A-d6-learning_rate_2-s0", {"status": records.PENDING}),
    ("residual-A-d14-learning_rate_0.5-s0", {"status": records.FAILED, "reason": "RESOURCE_EXHAUSTED: out of memory"}),
    ("residual-A-d30-branch_scale_0.5-learning_rate_0.03571-s0", {"status": records.PREEMPTED}),
  ):
    assert (root / run).is_dir(), sorted(root.iterdir())
    with records.RunWriter(root / run) as writer:
      writer.update(**change)
  return root


def test_runs_that_have_not_ended_are_not_taken_as_diverged(interrupted):
  logs = analysis.load(interrupted)
  best = learning_rates.optima(learning_rates.swept_runs(logs))
  waiting = best[best["optimum"] == learning_rates.UNFINISHED]
  assert list(zip(waiting["series"], waiting["depth"], strict=True)) == [
    *(("residual-A", 6), ("residual-A", 14), ("residual-A-branch_scale_0.5", 30)),
  ]
  found = section.build(logs)
  assert found.findings[0] == (
    "no further setting: no exponent, because no seed has a best rate at 3 depths or more; 2 unfinished sweeps of one "
    "depth and seed left out."
  )
  assert found.tables[0].rows[0][-1] == "6: sweep unfinished; 14: sweep unfinished; 30: 0.12"


def test_a_sweep_that_has_just_begun_has_a_page(interrupted):
  for directory in records.find_runs(interrupted):
    with records.RunWriter(directory) as writer:
      writer.update(status=records.PENDING)
  assert "no seed has a best rate" in page.build(interrupted).read_text("utf-8")


def test_rates_with_fewer_finished_seeds_are_not_preferred(sweep, tmp_path):
  root = tmp_path / "learning_rate_depth"
  shutil.copytree(sweep, root)
  for rate in (0.03125, 0.125, 0.5):
    write_run(root, 6, 1, rate, 0.0625)
    with records.RunWriter(root / f"residual-A-d6-learning_rate_{rate:.4g}-s1") as writer:
      writer.update(status=records.DONE if rate == 0.03125 else records.RUNNING)
  tuned = learning_rates.at_best_rates(analysis.load(root))
  kept = tuned.runs.query("net == 'residual-A-d6'")
  assert list(kept["id"]) == [f"residual-A-d6-learning_rate_0.03125-s{seed}" for seed in (0, 1)]


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
