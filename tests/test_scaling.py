"""Scaling with depth: power laws fitted to runs, and the best depth for a budget of multiply-adds."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from resjax import analysis, records
from resjax.analysis import power_law, scaling
from resjax.analysis.sections import scaling as section
from tests import synthetic_runs


def write_run(root, depth, error, curve=(), kind="residual", seed=0, batch=128, steps=1000):
  """Writes a finished run whose training loss is four times its error.

  Args:
    root: Directory of the experiment.
    depth: Depth of the network, to which parameters and multiply-adds are proportional.
    error: Test error at the end.
    curve: Pairs of step and test error before the end.
    kind: "residual" or "plain".
    seed: Seed of the run.
    batch: Batch size.
    steps: Steps of the run.
  """
  name = f"{'residual-A' if kind == 'residual' else kind}-d{depth}-s{seed}"
  macs = 1_000_000 * depth
  with records.RunWriter(root / name) as writer:
    writer.update(
      **{"id": name, "kind": kind, "depth": depth, "shortcut": "A" if kind == "residual" else None, "seed": seed},
      **{"status": records.DONE, "params": 10_000 * depth, "macs": macs, "steps": steps, "step": steps},
      result={"test_error": error, "train_error": error, "test_images": 10_000},
    )
    writer.write_config({"train": {"batch_size": batch}})
    for step, value in (*curve, (steps, error)):
      line = {"step": step, "images": 10_000}
      writer.append("metrics", [{**line, "split": "test", "error": value}])
      writer.append("metrics", [{**line, "split": "train", "loss": 4 * value, "error": value}])


def test_exponent_and_interval_are_those_of_a_regression_of_logarithms():
  rng = np.random.default_rng(3)
  x = np.array([20.0, 32, 44, 56, 110])
  y = 2 * x**-0.5 * np.exp(0.02 * rng.standard_normal(5))
  fitted = power_law.fit(list(x), list(y))
  expected = stats.linregress(np.log(x), np.log(y))
  half = stats.t.ppf(0.975, 3) * expected.stderr
  assert (fitted.exponent, fitted.low, fitted.high, fitted.r_squared) == pytest.approx(
    (expected.slope, expected.slope - half, expected.slope + half, expected.rvalue**2)
  )
  assert fitted.coefficient == pytest.approx(math.exp(expected.intercept))


def test_two_distinct_positions_have_no_fit():
  assert power_law.fit([20, 20, 56], [1, 2, 3]) is None


def test_a_power_law_is_recognized_only_if_the_data_follow_it(tmp_path):
  for depth, bump in ((20, 1.01), (32, 0.99), (44, 1.01), (56, 0.99)):
    write_run(tmp_path, depth, 0.4 * depth**-0.5 * bump)
    write_run(tmp_path, depth, {20: 0.1, 32: 0.2, 44: 0.1, 56: 0.12}[depth], kind="plain")
  measured = scaling.finished_runs(analysis.load(tmp_path))
  spent = measured.set_index("id").loc["plain-d20-s0", "training_macs"]
  assert spent == 3 * 20e6 * 128 * 1000  # three forward passes per image
  found = scaling.power_laws(measured).set_index(["kind", "measure", "against"])
  for place in scaling.PREDICTORS:  # all are proportional to the depth here
    row = found.loc["residual", "test_error", place]
    assert row["exponent"] == pytest.approx(-0.5, abs=0.05) and row["low"] < -0.5 < row["high"] and row["law"]
    assert not found.loc["plain", "test_error", place]["law"]
  assert found.loc["residual", "train_loss", "depth"]["exponent"] == pytest.approx(
    found.loc["residual", "test_error", "depth"]["exponent"]
  )
  assert "response" not in found.index.get_level_values("measure")  # no responses were captured
  said = section.build(analysis.load(tmp_path)).findings
  assert any(
    re.match("The test error of residual-A networks scales as depth to the power −0.5.*, R² 0.9[0-9]{2}", line)
    for line in said
  )
  assert any(line.startswith("The test error of plain networks is not well described by a power law") for line in said)


def test_the_training_loss_is_that_of_the_last_tenth_of_the_steps(tmp_path):
  write_run(tmp_path, 20, 0.10, curve=((800, 0.5), (950, 0.2)))
  assert scaling.finished_runs(analysis.load(tmp_path))["train_loss"].item() == pytest.approx((0.8 + 0.4) / 2)


def test_the_deeper_net_takes_the_frontier_over_once_it_is_told_apart(tmp_path):
  """Of 10,000 images, a difference near 20 % is told apart from 1.1 points on."""
  write_run(tmp_path, 10, 0.200, curve=((500, 0.300),))  # budgets of half a unit and one
  write_run(tmp_path, 20, 0.150, curve=((250, 0.500), (500, 0.301), (750, 0.195)))  # half, one, one and a half, two
  found = scaling.frontier(analysis.load(tmp_path))
  unit = 3 * 10e6 * 128 * 1000
  assert list(found["depth"]) == [10, 20]
  assert list(found["from_macs"]) == pytest.approx([0.5 * unit, 2 * unit])  # 0.195 is not told apart from 0.200
  assert list(found["to_macs"]) == pytest.approx([1.5 * unit, 2 * unit])
  assert found["difference"].iloc[-1] == pytest.approx(0.05)
  assert found["sampling_error"].iloc[-1] == pytest.approx(math.hypot(0.0040, 0.00357), rel=1e-2)
  built = section.build(analysis.load(tmp_path))
  assert built.findings == (
    "For training budgets in multiply-adds, the best networks are ResNet-10 up to 5.8e12 and ResNet-20 up to 7.7e12. "
    "At the largest budget, the test error of ResNet-10 is 5.0 points higher.",
  )
  (panel,) = built.panels
  assert all(f">ResNet-{depth}<" in panel.svg for depth in (10, 20))  # labels are there on logarithmic axes, too


def test_a_deeper_network_that_is_better_within_the_sampling_error_is_called_lower(tmp_path):
  write_run(tmp_path, 10, 0.200, curve=((500, 0.300),))
  write_run(tmp_path, 20, 0.195, curve=((500, 0.301),))
  (sentence,) = section.build(analysis.load(tmp_path)).findings
  assert sentence.endswith("the test error of ResNet-20 is 0.5 points lower, which is within the sampling error.")


def test_one_depth_and_nets_from_elsewhere_give_no_frontier(tmp_path):
  write_run(tmp_path, 20, 0.1)
  assert section.build(analysis.load(tmp_path)) is None
  write_run(tmp_path, 32, 0.1, steps=0)
  assert scaling.frontier(analysis.load(tmp_path)).empty


def test_the_section_of_a_sweep(tmp_path):
  synthetic_runs.write_sweep(tmp_path)
  built = section.build(analysis.load(tmp_path))
  names = [panel.name for panel in built.panels]
  assert len(names) == len(set(names)) > 0 and all("<svg" in panel.svg for panel in built.panels)
  assert all(len(row) == len(table.columns) for table in built.tables for row in table.rows)
