"""Selection of log lines: one choice of settings for each network, in every section of the report that needs it."""

import numpy as np
import pandas as pd

from resjax import analysis, study_records
from resjax.analysis import curvature, measurements, study_lines
from resjax.analysis.sections import blocks, cka, landscape, lesions, paths, responses, trajectory
from tests import synthetic_runs


def lines(**columns):
  """Returns one line for each value of the columns, of step 1 and the network n."""
  frame = pd.DataFrame(columns)
  return pd.DataFrame({"net": "n", "id": "n-s0", "step": 1, **frame})


def test_the_settings_of_most_captures_are_chosen_and_of_equal_ones_the_latest():
  of_three_seeds = lines(id=["n-s0", "n-s0", "n-s1", "n-s2"], images=[9, 5, 9, 9], value=[1, 2, 3, 4])
  assert list(study_lines.common_settings(of_three_seeds, ["images"])["value"]) == [1, 3, 4]
  once_each = lines(images=[9, 5, 9], mode=[None, "batch", None], value=[1, 2, 3])
  assert list(study_lines.common_settings(once_each, ["images", "mode"])["value"]) == [1, 3]
  assert study_lines.common_settings(once_each[:0], ["images", "mode"]).empty


def test_a_study_that_has_only_begun_does_not_replace_a_complete_one():
  begun = lines(images=[9, 9, 5], value=[1, 2, 3])
  assert list(study_lines.common_settings(begun, ["images"])["value"]) == [1, 2]


def test_networks_are_compared_with_equal_settings_where_they_exist():
  both = lines(net=["a", "a", "b"], id=["a-s0", "a-s0", "b-s0"], images=[5, 9, 5], value=[1, 2, 3])
  assert list(study_lines.common_settings(both, ["images"])["value"]) == [1, 3]
  differing = both.assign(images=[5, 9, 7])
  assert list(study_lines.common_settings(differing, ["images"])["value"]) == [2, 3]


def write_studies(root, log, rows, **run):
  """Writes a run with lines of a study, and returns the logs below `root`."""
  directory = synthetic_runs.write_run(root, every=32_000, **run)
  with study_records.writer(directory) as writer:
    writer.append(log, [{"step": synthetic_runs.STEPS, **row} for row in rows])
  return analysis.load(root)


def test_cka_matrices_of_two_tilings_are_not_mixed(tmp_path):
  """As after `study layers --tiles 2` and again with `--tiles 120`, also in comparison with another run."""
  common = {"test_images": 10, "every": 0, "cka_images": 5}
  rows = [
    {**common, "first": first, "values": [0.1 * tile] * (4 // tile), "tile": tile, "other_tile": tile, **other}
    for tile in (2, 1)
    for other in ({}, {"other": "elsewhere", "other_step": 7})
    for first in range(0, 4, tile)
  ]
  section = cka.build(write_studies(tmp_path, "cka", rows))
  shapes = section.data["cka"][["rows", "columns", "tile", "last_with_last"]]
  assert shapes.to_numpy().tolist() == [[4, 4, 1, 0.1]] * 2


def test_eigenvalues_and_surfaces_of_two_modes_are_not_averaged(tmp_path):
  common = {"images": 8, "source": "train", "seed": 0}
  eigenvalues = [
    {**common, "mode": mode, "index": 1, "eigenvalue": value} for mode, value in (("running", 3.0), ("batch", 9.0))
  ]
  write_studies(tmp_path, "hessian", eigenvalues)
  surface = [
    {**common, "mode": mode, "alpha": alpha, "beta": 0.0, "loss": loss + abs(alpha)}
    for mode, loss in (("running", 1.0), ("batch", 5.0))
    for alpha in (-1.0, 0.0, 1.0)
  ]
  section = landscape.build(write_studies(tmp_path, "landscape", surface))
  assert section.findings == (
    "ResNet-20: the loss is 5 at the trained network, and its median over the surface is 6.",
    "ResNet-20: the largest eigenvalue of the Hessian is 9.",
  )
  assert len(section.tables[0].rows) == 1


def test_a_surface_without_its_middle_has_a_median(tmp_path):
  surface = [{"alpha": alpha, "beta": beta, "loss": 2.0, "images": 8} for alpha in (-1.0, 1.0) for beta in (-1.0, 1.0)]
  section = landscape.build(write_studies(tmp_path, "landscape", surface))
  assert section.findings == ("ResNet-20: the median of the loss over the surface is 2.",)


def test_spectra_of_two_numbers_of_iterations_are_not_averaged(tmp_path):
  rows = [
    {"probe": probe, "values": [1.0, value], "weights": [0.5, 0.5], "parameters": 10, "iterations": iterations}
    for iterations, value in ((50, 3.0), (100, 2.0))
    for probe in (1, 2)
  ]
  summary = curvature.summaries(write_studies(tmp_path, "spectrum", rows)).iloc[0]
  assert (summary["vectors"], summary["iterations"], summary["largest"]) == (2, 100, 2.0)


def test_shares_of_paths_from_different_images_are_not_averaged(tmp_path):
  rows = [
    {"length": length, "share": share, "blocks": 1, "images": images, "source": "train"}
    for images, shares in ((64, (0.9, 0.1)), (128, (0.2, 0.8)))
    for length, share in enumerate(shares)
  ]
  assert list(paths.build(write_studies(tmp_path, "paths", rows)).data["paths"]["mean"]) == [0.2, 0.8]


def test_blocks_captured_twice_are_not_averaged(tmp_path):
  rows = [
    {"stage": 1, "block": 1, "input_std": 1.0, "branch_std": value, "mode": mode, "images": 8}
    for mode, value in (("running", 0.5), ("batch", 0.25))
  ]
  assert list(blocks.build(write_studies(tmp_path, "blocks", rows)).data["blocks"]["mean"]) == [0.25]


def test_the_surface_below_a_path_has_the_settings_of_the_path(tmp_path):
  shares = {"first_share": 0.6, "second_share": 0.3, "distance": 1.0, "plane_distance": 0.1}
  path = [
    {"at": at, "alpha": at, "beta": 0.0, "loss": 1.0, "plane_loss": 2.0, "images": images, "checkpoints": 2, **shares}
    for images in (8, 16)
    for at in (0, 100)
  ]
  write_studies(tmp_path, "trajectory", path)
  surface = [{"alpha": 0.0, "beta": 0.0, "loss": 3.0, "images": 8, "checkpoints": 2}]
  section = trajectory.build(write_studies(tmp_path, "trajectory_surface", surface))
  assert set(section.data["trajectory"]["images"]) == {16} and "trajectory_surface" not in section.data
  assert "by a factor of up to 2 (at step 0: 2 instead of 1)." in section.findings[0]


def captured(std, **settings):
  """Returns lines of three layers' responses, as a study measures them."""
  measured = {"mode": "batch", "images": 128, "source": "test", "pooling": "units", "first_conv": True}
  return [
    {**measured, "batch_size": 64, "layer": layer, "name": f"conv{layer}", "std": std, **settings}
    for layer in (1, 2, 3)
  ]


def test_responses_of_two_batch_sizes_are_not_averaged(tmp_path):
  rows = captured(2.0, mode="batch") + captured(4.0, mode="batch", batch_size=128)
  logs = write_studies(tmp_path, "responses", rows, responses=False)
  curves = analysis.response_curves(logs, "original", {"mode": "batch"})
  assert list(curves["mean"]) == [4.0] * 3 and set(curves["runs"]) == {1}


def test_responses_of_a_study_do_not_need_those_of_training(tmp_path):
  """With `responses.final=False` nothing is measured in training."""
  logs = write_studies(tmp_path, "responses", captured(2.0), responses=False)
  section = responses.other_measurements(logs)
  assert "the mean response is 2 in ResNet-20." in section.findings[1]
  assert responses.build(logs).findings == ("No responses were recorded in training, but studies measured them.",)


def test_a_study_that_repeats_the_measurement_of_training_adds_nothing(tmp_path):
  same = {"images": 128, "source": None, "pooling": None, "first_conv": None}  # as in the synthetic run
  logs = write_studies(tmp_path, "responses", captured(2.0, **same) + captured(3.0))
  (other,) = measurements.other_measurements(logs)
  assert other["source"] == "test"
  assert responses.other_measurements(logs).findings[1] == "Measurement 1: the mean response is 3 in ResNet-20."
  assert set(analysis.response_curves(logs, "original", {"source": None})["runs"]) == {1}


def test_a_measurement_that_only_another_network_has_from_training_is_shown(tmp_path):
  same = {"images": 128, "source": None, "pooling": None, "first_conv": None}  # as in the synthetic run
  synthetic_runs.write_run(tmp_path, every=32_000)
  logs = write_studies(tmp_path, "responses", captured(2.0, **same), depth=32, responses=False)
  section = responses.other_measurements(logs)
  assert "in ResNet-20 and 2 in ResNet-32." in section.findings[1]


def test_each_network_with_lesions_keeps_settings_of_its_own(tmp_path):
  def tested(images, error, **settings):
    setting = {"images": images, "source": "test", "reestimated": False, **settings}
    single = [{**setting, "kind": "delete", "stage": 1, "block": block, "error": error} for block in (1, 2)]
    draws = [
      {**setting, "kind": "delete_random", "count": 2, "trial": 1, "seed": seed, "error": error + 0.1 * (1 + seed)}
      for seed in (0, 1)
    ]
    return [{**setting, "kind": "none", "error": 0.05}, *single, *draws]

  write_studies(tmp_path, "lesions", tested(1000, 0.5), kind="plain")
  retaken = tested(2000, 0.9, reestimated=True, statistics_images=64)
  section = lesions.build(write_studies(tmp_path, "lesions", tested(2000, 0.2) + retaken))
  assert section.caption.endswith(
    " Settings differ: reestimated False, images 1000, source test for plain-20; "
    "reestimated False, images 2000, source test for ResNet-20."
  )
  singles = section.data["single_deletions"]
  assert list(singles["label"]) == ["plain-20"] * 2 + ["ResNet-20"] * 2
  assert list(singles["mean"]) == [0.5, 0.5, 0.2, 0.2]
  np.testing.assert_allclose(section.data["lesions_delete_random"]["mean"], [0.7, 0.4])  # the draws of one seed
  assert [row[2] for row in section.tables[0].rows] == ["1,000", "2,000", "2,000"]


def test_re_estimated_statistics_from_different_images_are_not_averaged(tmp_path):
  rows = [
    {"kind": kind, "stage": 1, "block": 1, "reestimated": True, "statistics_images": count, "images": 9, "error": error}
    for count, error in ((32, 0.1), (64, 0.3))
    for kind in ("none", "delete")
  ]
  table = lesions.build(write_studies(tmp_path, "lesions", rows)).data["lesions"]
  assert list(table["median"]) == [0.3]
