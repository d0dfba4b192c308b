"""Every setting with an allowed value other than its default, for tests of the configuration."""

import dataclasses
from typing import Any

from resjax import settings
from resjax.config import Config, freeze

LEAVES = dict(settings.leaves(Config))  # fields of all settings by dotted key
# The paper's recipe without deviations. 20 layers are legal for basic and bottleneck blocks, and 512 images are a
# multiple of all batch sizes that are tried.
BASE = freeze({"model": {"depth": 20, "norm_images": 64}, "responses": {"images": 512, "batch_size": 128}})

# Other settings that a value other than that of BASE requires.
REQUIRED: dict[str, dict] = {
  "model.family": {
    "model.depth": 18,
    "data.name": "imagenet2012",
    "train.steps": 600_000,
    "train.batch_size": 256,
    "train.schedule": "plateau",
  },
  "data.train_split": {"data.name": "voc", "responses.final": False},
  "data.test_split": {"data.name": "voc", "responses.final": False},
  "data.mean": {"data.normalize": "given", "data.std": (0.2,)},
  "data.std": {"data.normalize": "given", "data.mean": (0.5,)},
}


def with_values(values: dict) -> dict:
  """Returns the settings of `BASE` as nested dictionaries with the given values, by dotted key."""
  nested = dataclasses.asdict(BASE)
  for key, value in values.items():
    *path, name = key.split(".")
    target = nested
    for part in path:
      target = target[part]
    target[name] = value
  return nested


def other_value(key: str) -> Any:
  """Returns an allowed value of a setting that differs from that of `BASE`."""
  field = LEAVES[key]
  default, allowed = field.default, field.metadata["allowed"]
  special = {
    "model.depth": 26,
    "model.blocks": (4, 3, 2),
    "responses.batch_size": 256,
    "responses.images": 1024,
    "responses.steps": (7,),
    "gradients.batch_size": 256,
    "gradients.images": 1024,
    "gradients.steps": (7,),
    "train.batch_size": 192,
    "train.drops": (0.25,),
    "train.rate_scale": -0.5,
    "model.branch_scale": 0.5,
    "data.path": "/data",
    "data.train_split": "trainval",
    "data.test_split": "test",
    "detection.backbone": "/runs/one",
    "detection.anchor_scales": (8.0, 16.0),
    "detection.anchor_ratios": (1.0,),
    "detection.background_overlap": 0.1,
    "data.resize": (257, 480),
    "data.mean": (0.5,),
    "data.std": (0.2,),
  }
  if key in special:
    return special[key]
  if isinstance(default, bool):
    return not default
  if isinstance(default, str):
    return next(choice for choice in allowed if choice != default)
  return default / 2 if isinstance(default, float) else default + 1


def with_other_value(key: str) -> Config:
  """Returns `BASE` with another value of one setting, and the settings that this value requires."""
  return freeze(with_values(REQUIRED.get(key, {}) | {key: other_value(key)}))
