"""Training of detectors: records, bit-identical resumption, devices, settings and evaluation options."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resjax import config, data, experiment_cli, mesh, records
from resjax.config import Config, Detection, Model
from resjax.detection import backbone, batches, forward
from resjax.detection.matching import GroundTruth
from resjax.detection.network import Detector
from resjax.models import ScanOptions
from resjax.settings import ConfigError
from resjax.sweep import Run
from resjax.train import experiment, run_files
from tests import random_networks, synthetic_detection
from tests.short_run import without_times

pytest.importorskip("pycocotools", reason="the extra detection is not installed")

SMALL = Detection(
  shorter_side=48,
  longer_side=64,
  anchor_scales=(16.0, 32.0),
  train_candidates=100,
  train_proposals=30,
  test_candidates=50,
  test_proposals=10,
  regions=16,
  pool_size=4,
  objects=4,
)
NET = Model(family="imagenet", depth=10, blocks=(1, 1, 1, 1), width=8, shortcut="B")


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


def test_a_run_that_is_stopped_is_continued_bit_identically(voc, uninterrupted, tmp_path, monkeypatch):
  stop_requests = iter([False, True])  # polled after steps 2 and 3
  with monkeypatch.context() as patch:
    patch.setattr(experiment.processes, "StopSignal", lambda: lambda: next(stop_requests))
    stopped = Run("run-s0", "detection", "", settings(voc))
    assert experiment.run_all("A question?", [stopped], tmp_path) == experiment_cli.PREEMPTED
  again = run(tmp_path, settings(voc))[0]
  assert [event["name"] for event in again.run["events"]] == ["restored"]
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


def test_two_runs_in_one_program_agree_with_separate_runs(voc, uninterrupted, tmp_path):
  other = dataclasses.replace(settings(voc, execution__runs_per_program=2), seed=1)
  both = run(tmp_path, settings(voc, execution__runs_per_program=2), other)
  losses = [[row["loss"] for row in each.metrics if row["split"] == "train"] for each in both]
  separate = [row["loss"] for row in uninterrupted.metrics if row["split"] == "train"]
  assert losses[0] == pytest.approx(separate, rel=1e-3)  # to rounding, as the contract says
  assert losses[1] != losses[0]


def batch(detection: Detection, images: int = 8):
  """Returns a batch of images with two objects each, and its ground truth."""
  rng = np.random.default_rng(0)
  pixels, sizes, boxes, labels = [], [], [], []
  for _ in range(images):
    image, objects = synthetic_detection.draw(rng, 48, 64, 2)
    pixels.append(image)
    sizes.append((48, 64))
    boxes.append([row[1:] for row in objects] + [(0, 0, 0, 0)] * (detection.objects - 2))
    labels.append([1 + (row[0] == "blue") for row in objects] + [0] * (detection.objects - 2))
  truth = GroundTruth(
    np.array(boxes, np.float32), np.array(labels, np.int32), np.zeros((images, detection.objects), bool)
  )
  return forward.Images(np.stack(pixels), np.array(sizes, np.int32)), truth


def detector(model: Model = NET, **changes):
  """Returns a detector and its initial variables."""
  detection = dataclasses.replace(SMALL, **changes)
  built = Detector(model, detection, 2, ScanOptions())
  variables = jax.jit(built.init)(jax.random.key(1), jnp.zeros((1, 48, 64, 3)))
  return built, variables


STATISTICS = backbone.Statistics(np.full(3, 0.4, np.float32), np.full(3, 0.25, np.float32))


def test_gradients_on_eight_devices_are_those_on_one():
  made, variables = detector()
  images, truth = batch(SMALL)
  gradients = {}
  for count in (1, 8):
    devices = mesh.from_devices(jax.devices()[:count], 1)
    with jax.set_mesh(devices):
      everywhere = mesh.replicated(devices)
      by_batch = jax.sharding.NamedSharding(devices, mesh.batch_spec())

      def loss(params, images, truth):
        weights = {**variables, "params": params}
        return forward.training_loss(made, weights, STATISTICS, images, truth, jax.random.key(3))[0]

      params = jax.device_put(variables["params"], everywhere)
      found = jax.jit(jax.grad(loss))(params, *jax.device_put((images, truth), by_batch))
      gradients[count] = jax.device_get(found)
  scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients[1]))
  for one, other in zip(*map(jax.tree.leaves, (gradients[1], gradients[8])), strict=True):
    np.testing.assert_allclose(one, other, atol=1e-5 * scale)


FAMILIES = {
  "basic": NET,
  "bottleneck": dataclasses.replace(NET, kind="plain", block="bottleneck", depth=14),
  "cifar": Model(family="cifar", depth=14, width=8),
  "vgg": Model(family="vgg", kind="plain", block="single", depth=16, width=4, norm="none"),
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("context", [False, True])
def test_the_layer_table_has_the_parameters_of_every_family(name, context):
  detection = dataclasses.replace(SMALL, global_context=context, pool_size=1 if name == "vgg" else 4)
  made = Detector(FAMILIES[name], detection, 2, ScanOptions())
  variables = jax.eval_shape(made.init, jax.random.key(0), jnp.zeros((1, 48, 64, 3)))
  assert detection.net(made.net, 2).params == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


@pytest.mark.parametrize("name", ["bottleneck", "vgg"])
def test_all_evaluation_options_work_on_padded_images(name):
  changes = {"global_context": True, "refine": True, "box_voting": True, "pooling": "max", "score_threshold": 0.0}
  made, variables = detector(FAMILIES[name], **changes, pool_size=1 if name == "vgg" else 4)
  images, _ = batch(SMALL, 2)
  padded = forward.Images(np.pad(images.pixels, ((0, 0), (0, 16), (0, 32), (0, 0))), images.sizes)
  found = jax.jit(forward.detect, static_argnums=0)(made, variables, STATISTICS, padded)
  assert found.boxes.shape == (2, 2 * 2 * 10, 4)  # two classes of ten proposals, each scored twice
  assert (np.asarray(found.labels) > 0).any()
  assert (np.diff(found.scores) <= 0).all()
  boxes = np.asarray(found.boxes)[np.asarray(found.labels) > 0]
  # No box extends into the padding, except by rounding in the means of box voting.
  assert (boxes >= 0).all() and (boxes[:, 2] <= 64 + 1e-4).all() and (boxes[:, 3] <= 48 + 1e-4).all()


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
    ({"detection__frozen_stages": 6}, "detection.frozen_stages = 6: must be at most 5"),
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
