"""Training of detectors: records, bit-identical resumption, ensembles and settings."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from resjax import config, data, experiment_cli, records
from resjax.config import Config, Detection
from resjax.detection import batches, ensemble
from resjax.settings import ConfigError
from resjax.sweep import Run
from resjax.train import experiment, run_files
from resjax.train.run_log import RANDOM_BACKBONE
from tests import random_networks, synthetic_detection
from tests.short_run import without_times
from tests.small_detectors import NET, SMALL, VGG

pytest.importorskip("pycocotools", reason="the extra detection is not installed")


def settings(path: Path, name: str = "voc", **changes) -> Config:
  """Returns the configuration of a small detector.

  Args:
    path: Folder of the data set.
    name: Name of the data set.
    **changes: Values of settings by key, with "__" in place of the dot.
  """
  values = config.detection().to_dict()
  values["model"] |= dataclasses.asdict(NET)
  values["detection"] = dataclasses.asdict(SMALL)
  values["data"] |= {"name": name, "path": str(path)}
  values["train"] |= {"steps": 6, "batch_size": 8, "learning_rate": 0.01}
  values["evaluation"]["every"] = 3
  values["checkpoint"]["every"] = 2
  values["execution"] |= {"workers": 0, "log_every": 2, "devices": 1}
  for key, value in changes.items():
    section, _, own = key.partition("__")
    values[section] = value if not own else values[section] | {own: value}
  return config.freeze(values)


def run(workdir: Path, *configs: Config) -> list[records.Run]:
  """Executes one run per configuration and returns their records."""
  runs = [Run(f"run-s{each.seed}", "detection", "", each) for each in configs]
  assert experiment.run_all("A question?", runs, workdir) == 0
  return [records.read_run(workdir / "detection" / each.id) for each in runs]


@pytest.fixture(scope="module")
def voc(tmp_path_factory) -> Path:
  return synthetic_detection.write_voc(tmp_path_factory.mktemp("voc") / "set", train=10)


@pytest.fixture(scope="module")
def uninterrupted(voc, tmp_path_factory):
  """Returns the records of an uninterrupted run with seed 0."""
  return run(tmp_path_factory.mktemp("uninterrupted"), settings(voc))[0]


def test_a_run_has_the_records_of_a_detector(uninterrupted):
  assert uninterrupted.run["status"] == records.DONE
  assert set(uninterrupted.run["backbone"].values()) == {None}
  assert [row["split"] for row in uninterrupted.metrics] == ["train", "train", "test", "train", "train", "test"]
  assert all(row["loss"] is None and 0 <= row["error"] <= 1 for row in uninterrupted.metrics if row["split"] == "test")
  assert {(row["step"], row["class"]) for row in uninterrupted.average_precision} == {
    (step, name) for step in (3, 6) for name in ("blue", "red")
  }
  assert all(len(row["precision"]) == 101 for row in uninterrupted.average_precision)
  assert {row["step"] for row in uninterrupted.detections} <= {6}
  result = uninterrupted.run["result"]
  assert result["map50"] == pytest.approx(1 - result["test_error"])
  assert 0 <= result["map"] <= 1
  table = config.freeze(uninterrupted.config).detection.net(NET, 2)
  restored = run_files.restore_variables(uninterrupted.directory / run_files.CHECKPOINTS)[1]
  assert uninterrupted.run["params"] == table.params == sum(leaf.size for leaf in jax.tree.leaves(restored["params"]))


def test_the_report_has_the_section_on_detection(uninterrupted):
  page = (uninterrupted.directory.parent / "report.html").read_text("utf-8")
  assert "as backbone: mAP@.5 is" in page
  assert "The test error of a detector is 1 − mAP" in page
  assert "Sampling error" not in page and "Layer responses" not in page
  figures = {path.stem for path in (uninterrupted.directory.parent / "figures").iterdir()}
  assert {"precision-run", "pictures-run"} <= figures


def test_a_run_that_is_stopped_is_continued_bit_identically(voc, uninterrupted, tmp_path, monkeypatch, capsys):
  stop_requests = iter([False, True])  # polled after steps 2 and 3
  with monkeypatch.context() as patch:
    patch.setattr(experiment.processes, "StopSignal", lambda: lambda: next(stop_requests))
    stopped = Run("run-s0", "detection", "", settings(voc))
    assert experiment.run_all("A question?", [stopped], tmp_path) == experiment_cli.PREEMPTED
  warning = "run-s0: random weights with frozen batch norm: nothing is normalized"
  assert warning in capsys.readouterr().err
  again = run(tmp_path, settings(voc))[0]
  assert warning not in capsys.readouterr().err
  assert [(event["step"], event["name"]) for event in again.run["events"]] == [(0, RANDOM_BACKBONE), (3, "restored")]
  assert again.run["params_digest"] == uninterrupted.run["params_digest"]
  assert without_times(again.metrics) == without_times(uninterrupted.metrics)
  assert again.average_precision == uninterrupted.average_precision
  assert again.detections == uninterrupted.detections


def test_a_detector_starts_from_its_backbone_and_does_not_train_frozen_layers(voc, tmp_path):
  folder = config.Data(name="folder", image_size=32, resize=())
  start = random_networks.write_run(tmp_path / "net", NET, folder, 32, 5, mean_image=True)
  with records.RunWriter(start) as writer:
    writer.update(result={"test_error": 0.25})
  given = run_files.read(start)
  values = settings(voc, detection__backbone=str(start), detection__frozen_stages=2, train__steps=2)
  trained = run(tmp_path / "runs", values)[0]
  there = records.read_run(start).run
  assert trained.run["events"] == []
  assert trained.run["backbone"] == {"test_error": 0.25} | {key: there[key] for key in ("id", "step", "params_digest")}
  _, variables = run_files.restore_variables(trained.directory / run_files.CHECKPOINTS)
  for path, leaf in jax.tree.leaves_with_path(given.variables):
    names = [key.key for key in path]
    if "head" in names:
      continue
    there = variables
    for name in names:
      there = there[name]
    frozen = names[0] == "batch_stats" or names[1] in ("stem", "stage1") or any("norm" in name for name in names)
    assert np.array_equal(there, leaf) == frozen, names
  statistics = run_files.read_input(trained.directory).statistics
  np.testing.assert_allclose(statistics.mean, np.mean(given.input.statistics.mean, (0, 1)), rtol=1e-6)


def test_an_ensemble_takes_the_batch_size_of_its_first_run(voc, uninterrupted, tmp_path):
  """Two detectors with the same weights find what one does; batches of 3 could not be split over eight devices."""
  second = Path(shutil.copytree(uninterrupted.directory, tmp_path / "second"))
  values = json.loads((second / "config.json").read_text())
  values["evaluation"]["batch_size"] = 3
  (second / "config.json").write_text(json.dumps(values))
  alone = ensemble.evaluate([uninterrupted.directory], str(voc), "single")
  both = ensemble.evaluate([uninterrupted.directory, second], str(voc), "single")
  assert both == alone and both.images == 4


def test_two_runs_in_one_program_agree_with_separate_runs(voc, uninterrupted, tmp_path):
  other = dataclasses.replace(settings(voc, execution__runs_per_program=2), seed=1)
  both = run(tmp_path, settings(voc, execution__runs_per_program=2), other)
  losses = [[row["loss"] for row in each.metrics if row["split"] == "train"] for each in both]
  separate = [row["loss"] for row in uninterrupted.metrics if row["split"] == "train"]
  assert losses[0] == pytest.approx(separate, rel=1e-3)  # to rounding, as the contract says
  assert losses[1] != losses[0]


def test_the_order_of_images_is_a_function_of_the_step_and_split_over_hosts(voc):
  images = data.load(config.Data(name="voc", path=str(voc))).train
  groups = batches.AspectGroups(images, SMALL)
  assert [len(group) for group in groups.members] == [7, 3]
  assert groups.shapes == [(64, 64), (64, 64)]
  turns = [groups.group_at(step) for step in range(20)]
  assert [group for group, _ in turns].count(1) == 6  # 3 of 10
  for group in (0, 1):
    assert [place for own, place in turns if own == group] == list(range(sum(own == group for own, _ in turns)))
  steps = batches.TrainBatches(images, groups, SMALL, 7, 2, True)
  halves = [dataclasses.replace(steps, host=host, hosts=2) for host in (0, 1)]
  seen = []
  for step in range(20):
    made = steps(step)
    parts = [half(step) for half in halves]
    np.testing.assert_array_equal(np.concatenate([part.pixels for part in parts]), made.pixels)
    np.testing.assert_array_equal(np.concatenate([part.boxes for part in parts]), made.boxes)
    seen += made.indices.tolist()
  counts = np.bincount(seen, minlength=10)
  assert counts.sum() == 40
  assert counts.min() >= 3  # four epochs, the last of each group unfinished


def test_broken_images_are_replaced_and_recorded(voc, tmp_path):
  root = Path(shutil.copytree(voc, tmp_path / "set"))
  (root / "JPEGImages/image0_00.jpg").write_bytes(b"no image")
  (root / "JPEGImages/image1_00.jpg").write_bytes(b"")
  trained = run(tmp_path / "runs", settings(root, train__steps=4, evaluation__every=4))[0]
  skipped = {event["detail"].split(":")[0] for event in trained.run["events"] if event["name"] == "image skipped"}
  assert skipped == {"image0_00", "image1_00"}
  assert trained.run["result"]["test_images"] == 3


@pytest.mark.parametrize(
  ("changes", "says"),
  [
    ({"model__preactivation": True}, "model.preactivation = True: must be False for a detector"),
    ({"responses__final": True}, "responses.final = True: must be False for a detector"),
    ({"detection__longer_side": 40}, "detection.longer_side = 40: must be at least detection.shorter_side = 48"),
    ({"detection__anchor_scales": ()}, r"detection.anchor_scales = \(\): must contain at least one number"),
    (
      {"detection__frozen_stages": 6},
      "detection.frozen_stages = 6: must be 0 to 5: the stem and 4 stages",
    ),
    (
      {"detection__frozen_stages": 6, "model": dataclasses.asdict(VGG)},
      "detection.frozen_stages = 6: must be 0 to 5: 5 stages, there is no stem",
    ),
    ({"detection__pooling": "mean"}, "must be one of align, max"),
  ],
)
def test_invalid_settings_of_detectors_are_errors(voc, changes, says):
  with pytest.raises(ConfigError, match=says):
    settings(voc, **changes)


def test_settings_of_detectors_do_not_change_the_digest_of_classifiers():
  """They were added later, so default values are not part of the digest."""
  values = Config().to_dict()
  assert "detection" in values
  plain = json.dumps(values)
  assert Config(detection=Detection(regions=64)).digest != Config().digest
  assert plain == json.dumps(Config().to_dict())
