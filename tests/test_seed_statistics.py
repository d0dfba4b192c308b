"""Statistics over seeds, and comparisons with the numbers of the paper."""

import math
import statistics
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from resjax import analysis, paper, records
from resjax.analysis import paper_comparison, sections, seed_statistics


def write_runs(
  root: Path, kind: str, depth: int, errors: list[float], train: float = 0.01, setting: str = "", **fields: object
) -> None:
  """Writes run.json of one finished run per error.

  Args:
    root: Directory of the experiment.
    kind: "residual" or "plain".
    depth: Depth of the network.
    errors: Test errors of the seeds 0, 1, ...
    train: Part of the training errors.
    setting: Suffix of the network's name, such as "-nesterov".
    **fields: Values of further keys of run.json.
  """
  known = paper.CIFAR10_RESIDUAL.get(depth)
  for seed, error in enumerate(errors):
    name = f"{'residual-A' if kind == 'residual' else kind}-d{depth}{setting}-s{seed}"
    with records.RunWriter(root / name) as writer:
      writer.update(
        **{"id": name, "kind": kind, "depth": depth, "shortcut": "A" if kind == "residual" else None, "seed": seed},
        **{"status": records.DONE, "params": known.params if known else 1, "data": {"name": "cifar10"}},
        result={"test_error": error, "train_error": train + error / 10, "test_images": 10_000},
      )
      writer.update(**fields)


def test_the_interval_is_that_of_students_t():
  low, high = seed_statistics.interval([1.0, 2.0, 3.0])
  assert (low, high) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-4)  # t of two degrees of freedom is 4.3027
  assert all(math.isnan(end) for end in seed_statistics.interval([1.0]))


def test_intervals_of_each_net(tmp_path):
  write_runs(tmp_path, "plain", 20, [0.09, 0.10])
  row = seed_statistics.intervals(analysis.load(tmp_path)).query("measure == 'test'").iloc[0]
  assert (row["runs"], row["mean"]) == (2, pytest.approx(0.095))
  assert row["high"] - row["mean"] == pytest.approx(12.7062 * row["spread"] / math.sqrt(2), rel=1e-4)
  assert row["sampling_error"] == pytest.approx(math.sqrt(0.095 * 0.905 / 10_000))


def test_comparisons_are_paired_by_seed(tmp_path):
  shallow, deep = [0.09, 0.10, 0.11], [0.12, 0.125, 0.145]
  write_runs(tmp_path, "plain", 20, shallow)
  write_runs(tmp_path, "plain", 56, [*deep, 0.5])  # a seed that only one network has is omitted
  write_runs(tmp_path, "residual", 20, shallow)
  table = seed_statistics.comparisons(analysis.load(tmp_path))
  row = table.query("question == 'depth' and measure == 'test'").iloc[0]
  assert (row["label"], row["than_label"], row["seeds"]) == ("plain-56", "plain-20", 3)
  expected = stats.ttest_rel(deep, shallow)
  assert row["difference"] == pytest.approx(0.03)
  assert row["p"] == row["p_holm"] == pytest.approx(expected.pvalue)
  assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
  assert row["verdict"] == seed_statistics.WORSE
  same = table.query("question == 'shortcut' and measure == 'test'").iloc[0]
  assert (same["label"], same["than_label"], same["difference"]) == ("ResNet-20", "plain-20", 0)
  # t is undefined for differences without variance.
  assert math.isnan(same["p"]) and same["verdict"] == seed_statistics.UNDECIDED


def test_a_difference_may_be_significant_only_without_correction(tmp_path):
  for depth, errors in ((14, [0.10, 0.10, 0.10]), (20, [0.10, 0.16, 0.09]), (56, [0.13, 0.15, 0.16])):
    write_runs(tmp_path, "plain", depth, errors)
  (section,) = [each for each in sections.build_all(analysis.load(tmp_path)) if each.key == "depth"]
  p = stats.ttest_rel([0.13, 0.15, 0.16], [0.10, 0.10, 0.10]).pvalue
  assert p < 0.05 < 3 * p
  assert f"not significant once all pairs are corrected for (Holm p = {3 * p:.2g})" in section.findings[0]


def test_equal_differences_of_all_seeds_are_not_tested(tmp_path):
  write_runs(tmp_path, "plain", 14, [0.10, 0.20])
  write_runs(tmp_path, "plain", 20, [0.125, 0.225])
  (section,) = [each for each in sections.build_all(analysis.load(tmp_path)) if each.key == "depth"]
  assert "not testable, because all seeds give the same difference" in section.findings[0]


def test_a_setting_is_compared_with_the_network_without_it(tmp_path):
  write_runs(tmp_path, "residual", 8, [0.20, 0.21, 0.22])
  write_runs(tmp_path, "residual", 8, [0.22, 0.235, 0.24], setting="-padding_same")
  write_runs(tmp_path, "residual", 14, [0.2], setting="-nesterov")  # there is no network without the setting
  logs = analysis.load(tmp_path)
  table = seed_statistics.comparisons(logs).query("question == 'setting' and measure == 'test'")
  assert list(table["label"]) == ["ResNet-8 padding_same"] and list(table["than_label"]) == ["ResNet-8"]
  row = table.iloc[0]
  assert (row["difference"], row["seeds"], row["verdict"]) == (pytest.approx(0.065 / 3), 3, seed_statistics.WORSE)
  (section,) = [each for each in sections.build_all(logs) if each.key == "settings"]
  assert section.findings == (
    "The test error of ResNet-8 padding_same is 2.17 points higher than that of ResNet-8, a significant difference.",
  )
  assert {row[0] for row in section.tables[0].rows} == {"ResNet-8 padding_same"}
  assert section.title == "Effect of each setting"


def test_settings_of_one_seed_are_not_called_insignificant(tmp_path):
  write_runs(tmp_path, "residual", 8, [0.20, 0.21])
  write_runs(tmp_path, "residual", 8, [0.60], setting="-nesterov")
  write_runs(tmp_path, "residual", 8, [0.20, 0.22], setting="-padding_same")
  (section,) = [each for each in sections.build_all(analysis.load(tmp_path)) if each.key == "settings"]
  assert section.findings == (
    "No significant difference from the recipe: ResNet-8 padding_same.",
    "One seed each, not tested: ResNet-8 nesterov (+40.00 points).",
  )


def test_several_settings_are_compared_as_a_whole(tmp_path):
  """As in plain_depth, where normalization, initialization and learning rate change together."""
  write_runs(tmp_path, "plain", 20, [0.20, 0.21])
  write_runs(tmp_path, "plain", 20, [0.30, 0.32], setting="-norm_none-learning_rate_1e-05")
  (section,) = [each for each in sections.build_all(analysis.load(tmp_path)) if each.key == "settings"]
  assert section.title == "Difference from the recipe"
  assert section.tables[0].caption.endswith("several settings are compared as a whole.")


def test_neighboring_depths_and_the_extreme_ones_are_compared(tmp_path):
  for depth, error in ((20, 0.09), (32, 0.08), (56, 0.07)):
    write_runs(tmp_path, "residual", depth, [error, error + 0.001 * depth / 20])
  table = seed_statistics.comparisons(analysis.load(tmp_path)).query("measure == 'test'")
  pairs = list(zip(table["label"], table["than_label"], strict=True))
  assert pairs == [("ResNet-32", "ResNet-20"), ("ResNet-56", "ResNet-32"), ("ResNet-56", "ResNet-20")]
  assert (table["p_holm"] >= table["p"]).all()


def test_one_seed_is_not_tested(tmp_path):
  write_runs(tmp_path, "plain", 20, [0.09])
  write_runs(tmp_path, "plain", 56, [0.12])
  row = seed_statistics.comparisons(analysis.load(tmp_path)).iloc[0]
  assert row["verdict"] == seed_statistics.UNTESTED and math.isnan(row["p"]) and math.isnan(row["low"])
  assert row["sampling_error"] == pytest.approx(math.sqrt((0.09 * 0.91 + 0.12 * 0.88) / 10_000))


def test_holm_correction_by_hand():
  corrected = seed_statistics.holm(pd.Series([0.01, 0.04, float("nan"), 0.03]))
  assert list(corrected[[0, 1, 3]]) == pytest.approx([0.03, 0.06, 0.06])
  assert math.isnan(corrected[2])
  assert list(seed_statistics.holm(pd.Series([0.6, 0.7]))) == [1.0, 1.0]


def compared(root: Path) -> dict[str, dict]:
  """Returns the comparisons with the paper by label of the network."""
  return {row["label"]: row for row in paper_comparison.compare_with_paper(analysis.load(root)).to_dict("records")}


def test_a_difference_within_the_error_agrees_and_a_larger_one_does_not(tmp_path):
  write_runs(tmp_path, "residual", 20, [0.0870, 0.0885, 0.0890])
  write_runs(tmp_path, "residual", 56, [0.0790, 0.0795, 0.0800])
  write_runs(tmp_path, "residual", 110, [0.0661])
  rows = compared(tmp_path)
  assert rows["ResNet-20"]["verdict"] == paper_comparison.AGREES and rows["ResNet-20"]["reason"] == ""
  assert rows["ResNet-56"]["verdict"] == paper_comparison.DIFFERS
  assert rows["ResNet-56"]["difference"] == pytest.approx(0.0795 - 0.0697)
  # Three seeds with a standard deviation of 0.0005, one run in the paper that varies as ResNet-110, one sampling error.
  sampling = analysis.sampling_error(0.0795, 10_000)
  assert rows["ResNet-56"]["error"] == pytest.approx(math.hypot(0.0005 / math.sqrt(3), 0.0016, sampling))
  # The single seed is assumed to vary as the others do, pooled over two degrees of freedom each.
  pooled = statistics.mean([statistics.variance([0.0870, 0.0885, 0.0890]), 0.0005**2]) ** 0.5
  own = analysis.sampling_error(0.0661, 10_000)
  assert rows["ResNet-110"]["error"] == pytest.approx(math.hypot(pooled, 0.0016 / math.sqrt(5), own))
  assert rows["ResNet-110"]["reason"].startswith(
    "one seed, standard deviation over seeds assumed to be that of the net"
  )


def test_a_single_seed_is_assumed_to_vary_as_in_the_paper(tmp_path):
  """7.50 % of ResNet-56 is 0.53 points from the paper's number, two sampling errors alone."""
  write_runs(tmp_path, "residual", 56, [0.0750])
  write_runs(tmp_path, "residual", 1202, [0.0793], train=-0.0075)
  row = compared(tmp_path)["ResNet-56"]
  sampling = analysis.sampling_error(0.0750, 10_000)
  assert row["error"] == pytest.approx(math.hypot(0.0016, 0.0016, sampling)) and row["difference"] > 2 * sampling
  assert row["verdict"] == paper_comparison.AGREES
  assert row["reason"] == (
    "one seed, standard deviation over seeds assumed to be that of ResNet-110 in the paper, 0.16 points"
  )
  training = paper_comparison.compare_with_paper(analysis.load(tmp_path)).query("claim == 'training error'").iloc[0]
  assert training["error"] == 0 and training["reason"] == "one seed, standard deviation over seeds unknown"


def test_ranges_and_bounds_of_the_paper_are_compared(tmp_path):
  write_runs(tmp_path, "plain", 56, [0.13])
  write_runs(tmp_path, "residual", 1202, [0.08], train=-0.0075)
  rows = paper_comparison.compare_with_paper(analysis.load(tmp_path)).set_index(["label", "claim"])
  inside = rows.loc[("plain-56", "test error")]
  assert (inside["verdict"], inside["difference"]) == (paper_comparison.AGREES, 0)
  assert rows.loc[("ResNet-1202", "training error"), "verdict"] == paper_comparison.AGREES  # 0.05 % is under 0.1 %


@pytest.mark.parametrize(
  ("fields", "reason"),
  [
    ({"data": {"name": "digits"}}, "data is digits, not cifar10"),
    ({"deviations": [{"name": "train.steps", "paper": 64_000, "here": 800}]}, "train.steps 800, paper 64000"),
    ({"params": 5}, "another net of that depth"),
    ({"status": records.RUNNING}, "no run has finished"),
  ],
)
def test_runs_that_cannot_be_compared_have_a_reason(tmp_path, fields, reason):
  write_runs(tmp_path, "residual", 20, [0.0875], **fields)
  row = compared(tmp_path)["ResNet-20"]
  assert row["verdict"] == paper_comparison.NOT_COMPARABLE and row["reason"] == reason
  assert math.isnan(row["difference"])


def test_deviations_in_unspecified_settings_are_named_and_do_not_prevent_comparison(tmp_path):
  open_ones = [
    {"name": "model.norm_images", "paper": 64, "here": 0},
    {"name": "responses.mode", "paper": "batch", "here": "running"},
  ]
  write_runs(tmp_path, "residual", 20, [0.0875, 0.0876], deviations=open_ones)
  row = compared(tmp_path)["ResNet-20"]
  assert (row["verdict"], row["reason"]) == (paper_comparison.AGREES, "with model.norm_images 0, paper 64")


def test_networks_that_are_not_in_the_paper_are_not_compared(tmp_path):
  write_runs(tmp_path, "residual", 26, [0.08])
  assert paper_comparison.compare_with_paper(analysis.load(tmp_path)).empty
