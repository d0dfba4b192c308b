"""Data frames, tables and curves of run directories."""

import dataclasses
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from resjax import analysis, paper, records
from resjax.analysis import figures, formats, tables
from tests import synthetic_runs


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> analysis.Logs:
  return analysis.load(synthetic_runs.write_sweep(tmp_path_factory.mktemp("sweep")))


def test_frames_have_identifying_columns_first_and_are_sorted_for_reading(sweep):
  assert len(sweep.runs) == 12
  identity = ["id", "experiment", "variant", "net", "kind", "depth", "shortcut", "seed"]
  for frame in (sweep.runs, sweep.metrics, sweep.responses, sweep.deviations, sweep.events, sweep.gradients):
    assert list(frame.columns[:8]) == identity
  assert list(sweep.runs["id"][:3]) == ["plain-d20-s0", "plain-d20-s1", "plain-d44-s0"]
  assert list(sweep.runs["kind"]) == ["plain"] * 6 + ["residual"] * 6
  assert sweep.runs["shortcut"].isna().sum() == 6
  row = sweep.responses[(sweep.responses["id"] == "plain-d44-s1") & (sweep.responses["layer"] == 3)].iloc[0]
  assert (row["depth"], row["seed"], row["net"]) == (44, 1, "plain-d44")
  assert row["std"] == synthetic_runs.response_rows("plain", 44, 1, synthetic_runs.STEPS)[2]["std"]


def test_empty_frames_have_the_same_types(tmp_path):
  synthetic_runs.write_run(tmp_path, status=records.PENDING, reached=0)
  logs = analysis.load(tmp_path)
  assert logs.metrics.empty and logs.responses.empty
  assert logs.metrics["step"].dtype == "Int64" and logs.responses["std"].dtype == "float64"
  assert analysis.error_curves(logs).empty
  assert analysis.response_curves(logs, "sorted").empty


def test_an_unreadable_run_is_listed_as_a_problem_and_the_others_are_read(tmp_path):
  synthetic_runs.write_run(tmp_path)
  (tmp_path / "broken").mkdir()
  (tmp_path / "broken" / "run.json").write_text('{"schema": 1, "id"')
  logs = analysis.load(tmp_path)
  assert list(logs.runs["id"]) == ["residual-A-d20-s0"]
  assert len(logs.problems) == 1
  assert logs.problems[0].startswith("broken" + os.sep + "run.json: is not JSON")


def test_a_directory_without_runs_is_an_error(tmp_path):
  with pytest.raises(records.RecordsError, match="holds no run"):
    analysis.load(tmp_path)


def test_networks_are_runs_without_the_seed_and_have_labels(tmp_path, sweep):
  labels = [net.label for net in sweep.networks]
  assert labels == ["plain-20", "plain-44", "plain-56", "ResNet-20", "ResNet-44", "ResNet-56"]
  for shortcut in "ABC":
    synthetic_runs.write_run(tmp_path, shortcut=shortcut)
  synthetic_runs.write_run(tmp_path, "plain")
  run_id, common = "residual-A-d20-zero_init_scale-s3", {"experiment": "cifar_depth_sweep"}
  with records.RunWriter(tmp_path / run_id) as writer:
    writer.update(id=run_id, kind="residual", depth=20, shortcut="A", seed=3, **common)
  with records.RunWriter(tmp_path / "unnamed") as writer:
    writer.update(status="pending", **common)
  found = analysis.load(tmp_path).networks
  assert [net.label for net in found] == [
    *("plain-20", "ResNet-20 A", "ResNet-20 A zero_init_scale", "ResNet-20 B", "ResNet-20 C", "unnamed"),
  ]
  assert len({net.series for net in found}) == 6  # each has a color of its own
  assert [net.series for net in sweep.networks] == ["20", "44", "56"] * 2


def test_errors_are_means_and_standard_deviations_over_finished_seeds(sweep):
  table = analysis.errors(sweep).set_index("label")
  done = sweep.runs[sweep.runs["net"] == "residual-A-d44"]
  both = list(done["test_error"])
  row = table.loc["ResNet-44"]
  assert (row["runs"], row["done"]) == (2, 2)
  assert row["test_error"] == pytest.approx(statistics.mean(both))
  assert row["test_spread"] == pytest.approx(statistics.stdev(both))
  assert row["sampling_error"] == pytest.approx(math.sqrt(row["test_error"] * (1 - row["test_error"]) / 10_000))
  best = done.sort_values("best_test_error").iloc[0]
  assert (row["best_test_error"], row["best_step"]) == (best["best_test_error"], best["best_step"])
  single = table.loc["plain-56"]  # its other seed failed
  assert (single["runs"], single["done"]) == (2, 1)
  assert not math.isnan(single["test_error"]) and math.isnan(single["test_spread"])
  unfinished = table.loc["ResNet-56"]
  assert unfinished["done"] == 0 and math.isnan(unfinished["test_error"]) and pd.isna(unfinished["best_step"])


def test_the_sampling_error_of_6_5_percent_of_10000_images_is_a_quarter_point():
  assert analysis.sampling_error(0.065, 10_000) == pytest.approx(0.0025, abs=5e-5)


def test_the_number_of_the_paper_is_given_for_its_own_network_only(tmp_path, sweep):
  table = analysis.errors(sweep).set_index("label")
  assert table.loc["ResNet-56", "paper_error"] == paper.CIFAR10_RESIDUAL[56].error
  assert tuple(table.loc["plain-56", ["paper_low", "paper_high"]]) == paper.CIFAR10_PLAIN_REPRODUCTIONS[56]
  assert math.isnan(table.loc["plain-56", "paper_error"])
  synthetic_runs.write_run(tmp_path / "a", data={"name": "digits", "images": 1500})
  synthetic_runs.write_run(tmp_path / "b", depth=110, params=123)  # another network of that depth
  synthetic_runs.write_run(tmp_path / "c", shortcut="B")
  synthetic_runs.write_run(tmp_path / "d", depth=26)
  for directory in "abcd":
    other = analysis.errors(analysis.load(tmp_path / directory)).iloc[0]
    assert other["paper_source"] is None and math.isnan(other["paper_error"]), directory


def test_the_table_has_the_validation_error_of_the_last_step(tmp_path):
  directory = synthetic_runs.write_run(tmp_path)
  with records.RunWriter(directory) as writer:
    writer.append("metrics", [{"step": step, "split": "val", "error": 0.1 / step} for step in (1, 2)])
  assert analysis.errors(analysis.load(tmp_path)).loc[0, "val_error"] == pytest.approx(0.05)


def test_progress_is_that_of_the_log_if_it_is_ahead_of_the_record(sweep, tmp_path):
  table = analysis.progress(sweep).set_index("id")
  assert table.loc["residual-A-d56-s0", "progress"] == pytest.approx(38 / 64)
  assert table.loc["residual-A-d56-s1", "progress"] == 0
  assert math.isnan(table.loc["residual-A-d56-s1", "error"])
  assert table.loc["plain-d56-s1", "reason"].startswith("the training loss is not finite")
  directory = synthetic_runs.write_run(tmp_path, status=records.RUNNING, reached=4_000)
  with records.RunWriter(directory) as writer:
    writer.update(step=0)
  assert analysis.progress(analysis.load(tmp_path)).loc[0, "step"] == 4_000


def test_the_training_cost_of_a_run_is_that_of_its_steps_so_far(sweep):
  """A step costs three forward passes of 128 images."""
  running = analysis.progress(sweep).set_index("id").loc["residual-A-d56-s0"]
  logs = sweep.runs.set_index("id").loc["residual-A-d56-s0"], sweep.metrics[sweep.metrics["id"] == "residual-A-d56-s0"]
  assert running["training_macs"] == pytest.approx(3 * float(logs[0]["macs"]) * 128 * 38_000)
  assert running["seconds"] == pytest.approx(logs[1]["seconds"].sum())
  assert math.isnan(analysis.progress(sweep).set_index("id").loc["residual-A-d56-s1", "training_macs"])


def test_deviations_name_the_networks_that_have_them(tmp_path):
  common = {"name": "batch size", "paper": 128, "here": 64}
  synthetic_runs.write_run(tmp_path, "plain", deviations=[common])
  synthetic_runs.write_run(tmp_path, deviations=[common, {"name": "nesterov", "paper": False, "here": True}])
  table = analysis.deviations(analysis.load(tmp_path))
  assert table.to_dict("records") == [
    {"name": "batch size", "paper": "128", "here": "64", "nets": "all"},
    {"name": "nesterov", "paper": "False", "here": "True", "nets": "ResNet-20"},
  ]


def test_failures_and_incomplete_logs_are_events(tmp_path):
  synthetic_runs.write_sweep(tmp_path)
  with (tmp_path / "plain-d20-s0" / "metrics.jsonl").open("ab") as file:
    file.write(b'{"step": 9')
  table = analysis.events(analysis.load(tmp_path))
  assert [tuple(row) for row in table[["id", "name"]].to_numpy()] == [
    ("plain-d20-s0", "log incomplete"),
    ("plain-d56-s1", "failed"),
    ("residual-A-d44-s1", "restored"),
  ]
  assert table.loc[1, "step"] == 30_000 and "not finite" in table.loc[1, "detail"]


def test_events_of_all_runs_are_merged():
  rows = [("a", 0, "data", "other files"), ("a", 5, "restored", None), ("b", 0, "data", "other files")]
  table = pd.DataFrame(rows, columns=["id", "step", "name", "detail"])
  merged = tables.merge_shared_events(table, 2)[["id", "step", "name"]]
  assert merged.to_numpy().tolist() == [["all 2 runs", 0, "data"], ["a", 5, "restored"]]
  assert tables.merge_shared_events(table, 3).equals(table)  # a third run does not have the event
  assert tables.merge_shared_events(table.head(1), 1)["id"].tolist() == ["a"]


def test_error_curves_have_the_number_of_seeds_of_each_point(sweep):
  curves = analysis.error_curves(sweep)
  curve = curves[(curves["net"] == "plain-d56") & (curves["split"] == "test")].set_index("step")
  assert curve.loc[30_000, "runs"] == 2 and curve.loc[32_000, "runs"] == 1  # one seed failed at 30,000
  logged = sweep.metrics[(sweep.metrics["net"] == "plain-d56") & (sweep.metrics["split"] == "test")]
  at = logged[logged["step"] == 30_000]["error"]
  point = curve.loc[30_000]
  assert (point["low"], point["high"]) == (at.min(), at.max())
  assert point["mean"] == pytest.approx(at.mean())


def test_response_curves_in_both_orders(sweep):
  original = analysis.response_curves(sweep, "original")
  ordered = analysis.response_curves(sweep, "sorted")
  for net, depth in (("plain-d20", 20), ("residual-A-d44", 44)):
    seeds = [
      [row["std"] for row in synthetic_runs.response_rows(net.split("-")[0], depth, seed, synthetic_runs.STEPS)]
      for seed in (0, 1)
    ]
    mean = [statistics.mean(pair) for pair in zip(*seeds, strict=True)]
    assert list(original[original["net"] == net]["mean"]) == pytest.approx(mean)
    by_size = [sorted(seed, reverse=True) for seed in seeds]
    mean = [statistics.mean(pair) for pair in zip(*by_size, strict=True)]
    assert list(ordered[ordered["net"] == net]["mean"]) == pytest.approx(mean)
    assert list(original[original["net"] == net]["position"]) == list(range(1, depth))
    assert set(original[original["net"] == net]["layers"]) == {depth - 1}


def test_response_curves_show_the_last_capture_in_one_mode(tmp_path):
  directory = synthetic_runs.write_run(tmp_path, status=records.RUNNING, reached=4_000)
  second = synthetic_runs.write_run(tmp_path, seed=1, status=records.RUNNING, reached=2_000)
  later = [{**row, "step": 6_000, "std": 2.0} for row in synthetic_runs.response_rows("residual", 20, 0, 0)]
  with records.RunWriter(directory) as writer:
    writer.append("responses", [row | {"mode": "running", "std": 3.0} for row in later])
    writer.append("responses", later)
  assert second.exists()
  curves = analysis.response_curves(analysis.load(tmp_path), "original")
  assert set(curves["mean"]) == {2.0} and set(curves["step"]) == {6_000} and set(curves["runs"]) == {1}


def test_responses_without_a_mode_have_a_curve(tmp_path):
  directory = synthetic_runs.write_run(tmp_path, responses=False)
  with records.RunWriter(directory) as writer:
    writer.append("responses", [{"step": 1, "layer": layer, "std": 1.0} for layer in (1, 2)])
  assert len(analysis.response_curves(analysis.load(tmp_path), "original")) == 2


@pytest.mark.parametrize(
  ("formatted", "expected"),
  [
    (formats.percent(0.0661, 0.0016), "6.61 ± 0.16"),
    (formats.percent(0.0875, math.nan), "8.75"),
    (formats.percent(math.nan, 0.1), "\N{EN DASH}"),
    (formats.percent(0.0025, before="± "), "± 0.25"),
    (formats.count(64_000), "64,000"),
    (formats.count(pd.NA), "\N{EN DASH}"),
    (formats.short(40_550_000), "40.5M"),
    (formats.short(2_829_200_000), "2,829M"),
    (formats.short(120), "120"),
    (formats.share(0.999), "99"),
    (formats.share(1.0), "100"),
    (formats.share(math.nan), "0"),
  ],
)
def test_numbers_are_formatted_for_the_report(formatted, expected):
  assert formatted == expected


def test_analysis_and_report_do_not_import_jax():
  code = (
    "import sys, resjax.analysis, resjax.analysis.page, resjax.report\n"
    "heavy = {'jax', 'jaxlib', 'flax', 'optax', 'orbax', 'tensorflow_datasets', 'tensorflow', 'matplotlib.pyplot'}\n"
    "print(sorted(heavy & set(sys.modules)))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
  )
  assert done.stdout.strip() == "[]"


def test_logs_have_the_documented_frames(sweep):
  assert {field.name for field in dataclasses.fields(sweep)} == {
    *("root", "runs", "metrics", "responses", "gradients", "average_precision", "detections", "pictures"),
    *("deviations", "events", "settings", "studies", "problems"),
  }


def test_figures_and_tables_refuse_runs_of_two_experiments_with_one_id(tmp_path):
  for experiment in ("one", "two"):
    synthetic_runs.write_run(tmp_path / experiment, experiment=experiment, every=32_000)
  logs = analysis.load(tmp_path)
  assert list(logs.runs["experiment"]) == ["one", "two"]
  for draw in (figures.figure6, figures.figure7, tables.errors):
    with pytest.raises(ValueError, match="two runs have the id residual-A-d20-s0: load the directory of one"):
      draw(logs)
