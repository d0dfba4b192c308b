"""The paper's values of settings, and the deviations from them that a configuration lists."""

import dataclasses
import json

import pytest

from resjax import config, registry, settings
from resjax.config import Config, freeze
from resjax.settings import UNSPECIFIED
from tests.config_values import LEAVES, REQUIRED, other_value, with_other_value

SPECIFIED = {key: field for key, field in LEAVES.items() if field.metadata["paper"] is not UNSPECIFIED}
# The paper's values (Sec. 3.3 and 4.2). It does not specify any other setting.
PAPER = {
  "model.block": {"cifar": "basic"},
  "model.width": 0,
  "model.stem": "auto",
  "model.shortcut": {"cifar": "A"},
  "model.bottleneck_stride": "1x1",
  "model.option_a_stride": "subsample",
  "model.option_a_zeros": "end",
  "model.preactivation": False,
  "model.padding": "symmetric",
  "model.norm": {"cifar": "batch", "imagenet": "batch"},
  "model.activation": "relu",
  "model.precision": "float32",
  "model.zero_init_scale": False,
  "model.branch_scale": 0.0,
  "model.initialization": "he",
  "model.survival": 1.0,
  "model.norm_images": {"cifar": 64},
  "data.name": {"cifar": "cifar10", "imagenet": "imagenet2012"},
  "data.normalize": "pixel_mean",
  "data.pad": {"cifar": 4},
  "data.mirror": True,
  "data.image_size": 224,
  "data.resize": (256, 480),
  "data.lighting": 0.1,
  "train.steps": {"cifar": 64_000, "imagenet": 600_000},
  "train.batch_size": {"cifar": 128, "imagenet": 256},
  "train.learning_rate": 0.1,
  "train.rate_scale": 0.0,
  "train.schedule": {"cifar": "steps", "imagenet": "plateau"},
  "train.drops": {"cifar": (0.5, 0.75)},
  "train.drop_factor": 0.1,
  "train.optimizer": "sgd",
  "train.momentum": 0.9,
  "train.nesterov": False,
  "train.weight_decay": 1e-4,
  "train.warmup": "auto",
  "train.warmup_rate": 0.01,
  "train.warmup_error": 0.8,
}

CIFAR = {key: said["cifar"] if isinstance(said, dict) else said for key, said in PAPER.items()}


def test_the_default_is_the_recipe_of_the_paper():
  c = Config()
  assert freeze(config.default().to_dict()) == freeze({}) == c
  assert c.deviations() == [{"name": "model.norm_images", "paper": 64, "here": 0}]
  here = settings.flatten(dataclasses.asdict(c))
  assert {key: here[key] for key in PAPER} == {**CIFAR, "model.norm_images": 0}
  assert {key: field.metadata["paper"] for key, field in SPECIFIED.items()} == PAPER
  assert [share * c.train.steps for share in c.train.drops] == [32_000, 48_000]


def test_imagenet_networks_are_compared_with_the_imagenet_recipe():
  """That recipe has bottleneck blocks and projections, which are deviations from the CIFAR recipe."""
  c = config.imagenet()
  assert freeze(c.to_dict()).deviations() == []
  c.model.update({"depth": 50, "block": "bottleneck", "shortcut": "B"})
  assert freeze(c.to_dict()).deviations() == []
  here = freeze({"model": {"depth": 47, "block": "bottleneck", "shortcut": "B", "norm_images": 64}})
  assert [row["name"] for row in here.deviations()] == ["model.block", "model.shortcut"]


def test_detectors_are_compared_with_the_detection_recipe():
  """They have the paper's learning rate, not that of classification, and RoIAlign in place of its RoI pooling."""
  c = config.detection()
  pooling = {"name": "detection.pooling", "paper": "max", "here": "align"}
  decay = {"name": "train.weight_decay", "paper": 0.0005, "here": 0.0001}
  assert freeze(c.to_dict()).deviations() == [pooling, decay]
  c.model.update({"family": "cifar", "depth": 20})
  c.detection.pooling, c.train.weight_decay = "max", 0.0005
  assert freeze(c.to_dict()).deviations() == []
  c.data.name = "coco"
  steps = {"name": "train.steps", "paper": 320_000, "here": 70_000}
  drops = {"name": "train.drops", "paper": [0.75], "here": [5 / 7]}
  assert freeze(c.to_dict()).deviations() == [steps, drops]
  c.train.update({"steps": 320_000, "drops": (0.75,), "batch_size": 16, "learning_rate": 0.002})
  c.model.update({"family": "imagenet", "depth": 18, "width": 32})
  rate = {"name": "train.learning_rate", "paper": 0.001, "here": 0.002}
  width = {"name": "model.width", "paper": 0, "here": 32}
  assert freeze(c.to_dict()).deviations() == [width, rate]


def test_the_recipe_of_coco_has_the_steps_of_the_paper():
  for each in registry.find("detection_depth").runs("coco"):
    assert [row["name"] for row in each.config.deviations()] == ["detection.pooling"]
    assert each.config.train.steps * each.config.train.drops[0] == 240_000


def test_a_tenth_of_the_imagenet_schedule_deviates_in_steps_only():
  tenth = freeze(config.imagenet(0.1).to_dict())
  assert tenth.deviations() == [{"name": "train.steps", "paper": 600_000, "here": 60_000}]
  assert tenth.evaluation.every == 500  # ten times as often, so that the plateau schedule is shortened as well


@pytest.mark.parametrize("key", SPECIFIED)
def test_a_value_other_than_that_of_the_paper_is_one_deviation(key):
  here, paper = json.loads(json.dumps([other_value(key), CIFAR[key]]))
  assert with_other_value(key).deviations() == [{"name": key, "paper": paper, "here": here}]


@pytest.mark.parametrize("key", [key for key in LEAVES if key not in SPECIFIED])
def test_settings_that_the_paper_does_not_specify_cause_no_deviation(key):
  expected = set()  # of the CIFAR recipe for a detector, or with a given normalization
  if "data.name" in REQUIRED.get(key, {}) and key != "model.family":
    expected = {"detection.pooling", "train.learning_rate", "train.weight_decay"}
  elif key != "model.family":
    expected = set(REQUIRED.get(key, {})) & set(SPECIFIED)
  assert {row["name"] for row in with_other_value(key).deviations()} == expected
