"""The classification run that a detector starts from: a named run, or the matching one of a folder."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from resjax import config, models, registry
from resjax.config import Config, Detection, Model
from resjax.data.augment import Statistics
from resjax.detection import backbone
from resjax.detection.network import Detector
from resjax.models import ScanOptions
from resjax.settings import ConfigError
from tests import random_networks
from tests.small_detectors import NET, VGG

pytest.importorskip("pycocotools", reason="the extra detection is not installed")

FOLDER = config.Data(name="folder", image_size=32, resize=())


def detector(directory: Path, net: Model = NET, seed: int = 0) -> Config:
  """Returns the configuration of a detector whose backbone is taken from a directory."""
  values = config.detection().to_dict()
  values["model"] = dataclasses.asdict(net)
  values["detection"]["backbone"] = str(directory)
  return config.freeze(values | {"seed": seed})


def write_backbone(directory: Path, net: Model, seed: int) -> None:
  """Writes a classification run with random weights whose configuration has the given seed."""
  random_networks.write_run(directory, net, FOLDER, 32, 5, seed)
  path = directory / "config.json"
  path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": seed}))


def test_a_directory_without_a_matching_run_is_an_error(tmp_path):
  with pytest.raises(ConfigError, match="is not a run directory"):
    backbone.check(detector(tmp_path))
  write_backbone(tmp_path / "net", dataclasses.replace(NET, width=4), 0)
  with pytest.raises(
    ConfigError, match=r"must have the same network as this run, but differs in model.width \(4 there, 8 here\)"
  ):
    backbone.check(detector(tmp_path / "net"))


def test_the_run_with_the_same_network_and_seed_is_taken_from_a_folder(tmp_path):
  plain = dataclasses.replace(NET, kind="plain")
  write_backbone(tmp_path / "plain-s0", plain, 0)
  for seed in (1, 2):
    write_backbone(tmp_path / f"residual-s{seed}", NET, seed)
  taken = {(net.kind, seed): backbone.read(detector(tmp_path, net, seed)) for net in (plain, NET) for seed in (0, 1, 2)}
  assert {key: each.directory.name for key, each in taken.items()} == {
    **{("plain", seed): "plain-s0" for seed in (0, 1, 2)},
    **{("residual", seed): f"residual-s{max(seed, 1)}" for seed in (0, 1, 2)},  # the lowest seed if there is no seed 0
  }
  message = (
    r"with the same network as this run, but has 3 others; plain-s0 differs in model.kind \('plain' there, 'residual' "
  )
  with pytest.raises(ConfigError, match=message):
    backbone.read(detector(tmp_path, dataclasses.replace(NET, width=4)))


def test_detectors_are_no_backbones(tmp_path):
  for name, seed in (("detector", 0), ("classifier", 1)):
    write_backbone(tmp_path / "runs" / name, NET, seed)
  values = detector(tmp_path / "runs" / "classifier").to_dict()  # the detector has the seed of the run below
  (tmp_path / "runs" / "detector" / "config.json").write_text(json.dumps(values))
  assert backbone.read(detector(tmp_path / "runs")).directory.name == "classifier"
  with pytest.raises(ConfigError, match=r"must be a classification network, but is a detector \(data.name = 'voc'\)"):
    backbone.check(detector(tmp_path / "runs" / "detector"))
  (tmp_path / "runs" / "classifier").rename(tmp_path / "classifier")
  with pytest.raises(ConfigError, match="must contain a classification network, but has only detectors"):
    backbone.check(detector(tmp_path / "runs"))


def test_the_shortcut_of_plain_networks_is_not_compared(tmp_path):
  plain = dataclasses.replace(NET, kind="plain")
  write_backbone(tmp_path, dataclasses.replace(plain, shortcut="A"), 0)
  assert backbone.check(detector(tmp_path, plain))["id"]


def test_a_backbone_whose_dense_layers_take_another_number_of_bins_is_refused(tmp_path):
  net = dataclasses.replace(VGG, norm="batch")
  write_backbone(tmp_path, net, 0)  # images of 32 pixels: 1x1 positions of 64 channels are left
  values = detector(tmp_path, net).to_dict()
  with pytest.raises(ConfigError) as caught:
    backbone.check(config.freeze(values))
  assert str(caught.value) == (
    f"detection.backbone: head/dense1/kernel has the shape (64, 4096) in {tmp_path}, but (12544, 4096) in the "
    "detector; set detection.pool_size = 1"
  )
  values["detection"]["pool_size"] = 1
  assert backbone.check(config.freeze(values))["step"] == 0


@pytest.mark.parametrize(("pool_size", "fits"), [(7, True), (14, False)])
def test_the_detector_has_all_weights_of_vgg_16_but_its_classifier(pool_size, fits):
  net, detection = dataclasses.replace(VGG, width=64), Detection(pool_size=pool_size)
  image = jnp.zeros((1, 224, 224, 3))
  classifier = models.build(net, 1000)
  there = jax.eval_shape(lambda: classifier.init(jax.random.key(0), image, train=False))
  here = jax.eval_shape(Detector(net, detection, 20, ScanOptions()).init, jax.random.key(0), image)
  given = backbone.Backbone(Path("vgg"), there, Statistics(np.zeros(3), np.ones(3)))
  if not fits:
    with pytest.raises(
      ConfigError, match=r"\(25088, 4096\) in vgg, but \(100352, 4096\) .*set detection.pool_size = 7$"
    ):
      backbone.replace_matching(here, given, detection)
    return
  replaced = backbone.replace_matching(here, given, detection)
  before, after, weights = (traverse_util.flatten_dict(each, sep="/") for each in (here, replaced, there))
  taken = {path for path, leaf in after.items() if leaf is not before[path]}
  assert taken == {path for path in weights if not path.startswith("params/head/dense/")}
  new = ("params/proposals/", "params/head/classes/", "params/head/boxes/")
  assert all(path.startswith(new) for path in set(after) - taken)


@pytest.mark.parametrize(("variant", "name"), [("", "imagenet_depth"), ("small", "detection_backbones")])
def test_the_experiments_of_backbones_have_the_networks_of_the_detectors(variant, name):
  detectors = registry.find("detection_depth").runs(variant)
  trained = [run.config for run in registry.find(name).runs()]
  kinds = ("residual", "plain") if variant else ("residual",)
  for run in (run for run in detectors if run.config.model.kind in kinds):
    assert any(not backbone._differences(other, run.config) for other in trained), run.id
