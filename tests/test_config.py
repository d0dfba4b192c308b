"""Every setting: the paper's value, what is allowed, what is said, and the digest; `test_config_fuzz.py` has junk."""

import copy
import dataclasses
import json

import pytest

from resjax import config, settings
from resjax.config import Config, freeze
from resjax.settings import UNSPECIFIED, ConfigError, Range

LEAVES = dict(settings.leaves(Config))
SAID = {key: field for key, field in LEAVES.items() if field.metadata["paper"] is not UNSPECIFIED}
# The paper's recipe to the letter. 20 layers are legal for both kinds of block, and 512 images are a multiple of all
# batches tried here.
BASE = freeze({"model": {"depth": 20, "norm_images": 64}, "responses": {"images": 512, "batch_size": 128}})

# What the paper says (Sec. 3.3 and 4.2); all else is left open by it or has nothing to do with it.
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

# What a setting's other value cannot be without.
NEEDED: dict[str, dict] = {
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
  """The settings of `BASE` as nested dicts, the dotted `values` set."""
  nested = dataclasses.asdict(BASE)
  for key, value in values.items():
    *path, name = key.split(".")
    target = nested
    for part in path:
      target = target[part]
    target[name] = value
  return nested


def refusal(values: dict) -> str:
  """The message with which the dotted `values` are refused."""
  with pytest.raises(ConfigError) as caught:
    freeze(with_values(values))
  assert "\n" not in str(caught.value)
  return str(caught.value)


def another(key: str):
  """An allowed value of a setting that is not that of `BASE`."""
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


def changed(key: str) -> Config:
  """`BASE` with one setting changed."""
  return freeze(with_values(NEEDED.get(key, {}) | {key: another(key)}))


def test_the_default_is_the_papers_recipe():
  c = Config()
  assert freeze(config.default().to_dict()) == freeze({}) == c
  assert c.deviations() == [{"name": "model.norm_images", "paper": 64, "here": 0}]
  here = settings.flatten(dataclasses.asdict(c))
  assert {key: here[key] for key in PAPER} == {**CIFAR, "model.norm_images": 0}
  assert {key: field.metadata["paper"] for key, field in SAID.items()} == PAPER
  assert [share * c.train.steps for share in c.train.drops] == [32_000, 48_000]


@pytest.mark.parametrize("key", LEAVES)
def test_every_setting_has_a_meaning_and_its_numbers_a_range(key):
  field = LEAVES[key]
  assert field.metadata["meaning"]
  number = field.default if not isinstance(field.default, tuple) else 0
  if isinstance(number, int | float) and not isinstance(number, bool):
    assert isinstance(field.metadata["allowed"], Range)


@pytest.mark.parametrize("key", LEAVES)
@pytest.mark.parametrize(
  "value", [None, {}, {"a": 1}, object(), float("nan"), float("inf"), b"x"], ids=lambda value: type(value).__name__
)
def test_no_setting_takes_junk(key, value):
  assert refusal({key: value}).startswith(f"{key} = ")


@pytest.mark.parametrize(
  ("values", "says"),
  [
    ({"model.depth": 21}, "model.depth = 21: not 6n+2, the depths of basic blocks in three stages; nearest: 20 and 26"),
    ({"model.kind": ""}, "model.kind = '': must be one of residual, plain"),
    (
      {"model.depth": 32, "model.block": "bottleneck"},
      "model.depth = 32: not 9n+2, the depths of bottleneck blocks in three stages; nearest: 29 and 38",
    ),
    ({"model.depth": 0}, "model.depth = 0: must be 1 to 2147483647"),
    (
      {"model.blocks": (2, 2, 2)},
      "model.depth = 20: blocks = (2, 2, 2) of basic blocks make 14 layers",
    ),
    ({"model.blocks": (2, 0)}, "model.blocks = 0: must be 1 to 2147483647"),
    ({"model.kind": "dense"}, "model.kind = 'dense': must be one of residual, plain"),
    (
      {"model.shortcut": "D"},
      "model.shortcut = 'D': must be one of A, B, C, rezero, skipinit, fixup, gated, half, mean, gate, exclusive_gate, "
      "dropout",
    ),
    (
      {"model.block": "dense"},
      "model.block = 'dense': must be one of basic, bottleneck, single in nets of model.family = 'cifar'",
    ),
    (
      {"model.family": "vgg", "model.block": "single", "model.depth": 16, "model.stem": "7x7"},
      "model.stem = '7x7': must be auto in nets of model.family = 'vgg'",
    ),
    (
      {"model.family": "vgg", "model.block": "single", "model.depth": 16, "model.preactivation": True},
      "model.preactivation = True: must be False in nets of model.family = 'vgg'",
    ),
    ({"model.shortcut": "skipinit"}, "model.shortcut = 'skipinit': replaces normalization; needs model.norm = 'none'"),
    (
      {"model.zero_init_scale": True, "model.norm": "none"},
      "model.zero_init_scale = True: needs normalization; must be False with model.norm = 'none'",
    ),
    (
      {"model.shortcut": "fixup", "model.norm": "none", "model.block": "single"},
      "model.shortcut = 'fixup': needs blocks of two layers or more; model.block is 'single'",
    ),
    (
      {"model.shortcut": "fixup", "model.norm": "none", "model.preactivation": True},
      "model.shortcut = 'fixup': is defined for activations after layers; model.preactivation is True",
    ),
    (
      {"model.branch_scale": 0.5, "model.kind": "plain"},
      "model.branch_scale = 0.5: needs model.kind = 'residual'",
    ),
    (
      {"model.initialization": "depth", "model.kind": "plain"},
      "model.initialization = 'depth': needs model.kind = 'residual'",
    ),
    (
      {"model.branch_scale": 1.0, "model.shortcut": "gated"},
      "model.branch_scale = 1.0: not with model.shortcut = 'gated', which scales branches",
    ),
    ({"model.survival": 0.5, "model.kind": "plain"}, "model.survival = 0.5: needs model.kind = 'residual'"),
    (
      {"model.survival": 0.5, "model.shortcut": "gated"},
      "model.survival = 0.5: not with model.shortcut = 'gated', which scales branches",
    ),
    ({"model.branch_scale": -0.5}, "model.branch_scale = -0.5: must be 0.0 to 4.0"),
    ({"train.rate_scale": 5.0}, "train.rate_scale = 5.0: must be -4.0 to 4.0"),
    ({"seed": -1}, "seed = -1: must be 0 to 2147483647"),
    ({"seed": 2**31}, "seed = 2147483648: must be 0 to 2147483647"),
    ({"train.learning_rate": -0.1}, "train.learning_rate = -0.1: must be at least 0.0"),
    ({"train.momentum": 1.1}, "train.momentum = 1.1: must be 0.0 to 1.0"),
    ({"train.drops": (0.5, 1.5)}, "train.drops = 1.5: must be 0.0 to 1.0"),
    ({"train.steps": 0}, "train.steps = 0: must be 1 to 2147483647"),
    (
      {"data.name": "mnist"},
      "data.name = 'mnist': must be one of digits, cifar10, cifar100, npz, folder, imagenet2012, voc, coco",
    ),
    (
      {"responses.images": 1000},
      "responses.images = 1000: must be a multiple of responses.batch_size = 128",
    ),
    (
      {"execution.profile": 1, "train.steps": 100},
      "execution.profile = 1: the second interval is traced, and train.steps = 100 are one; execution.log_every = 100 "
      "must be smaller",
    ),
    (
      {"train.schedule": "plateau", "evaluation.every": 0},
      "evaluation.every = 0: must be at least 1 for train.schedule = 'plateau'",
    ),
    (
      {"train.schedule": "plateau", "train.drop_factor": 1.0},
      "train.drop_factor = 1.0: must be between 0 and 1 for train.schedule = 'plateau'",
    ),
    (
      {"gradients.every": 5, "gradients.images": 1000},
      "gradients.images = 1000: must be a multiple of gradients.batch_size = 128",
    ),
    ({"gradients.steps": (64_001,)}, "gradients.steps = 64001: must be at most train.steps = 64000"),
    ({"responses.steps": (0, 64_001)}, "responses.steps = 64001: must be at most train.steps = 64000"),
  ],
)
def test_what_is_not_allowed_is_said(values, says):
  assert refusal(values) == says


@pytest.mark.parametrize("key", LEAVES)
def test_digest_is_over_all_but_execution(key):
  assert (changed(key).digest == BASE.digest) is key.startswith("execution.")


def test_an_imagenet_net_deviates_from_the_papers_imagenet_recipe_only():
  """Bottlenecks and projections are the paper's there; a net at CIFAR size is held against the CIFAR recipe."""
  c = config.imagenet()
  assert freeze(c.to_dict()).deviations() == []
  c.model.update({"depth": 50, "block": "bottleneck", "shortcut": "B"})
  assert freeze(c.to_dict()).deviations() == []
  here = freeze({"model": {"depth": 47, "block": "bottleneck", "shortcut": "B", "norm_images": 64}})
  assert [row["name"] for row in here.deviations()] == ["model.block", "model.shortcut"]


def test_a_tenth_of_the_imagenet_recipe_deviates_in_steps_only():
  tenth = freeze(config.imagenet(0.1).to_dict())
  assert tenth.deviations() == [{"name": "train.steps", "paper": 600_000, "here": 60_000}]
  assert tenth.evaluation.every == 500  # ten times as often as in the whole: the plateau's patience shrinks with it


def test_digest_does_not_depend_on_how_a_value_is_written_or_on_order():
  one, other = with_values({"train.learning_rate": 1, "train.drops": [0, 1]}), {"data": {"pad": 4}}
  assert freeze(one).digest == freeze(with_values({"train.learning_rate": 1.0, "train.drops": (0.0, 1.0)})).digest
  assert freeze(other).digest == Config().digest
  assert freeze(dict(reversed(with_values({}).items()))).digest == BASE.digest


@pytest.mark.parametrize("key", SAID)
def test_one_deviation_for_each_setting_that_is_not_the_papers(key):
  here, paper = json.loads(json.dumps([another(key), CIFAR[key]]))
  assert changed(key).deviations() == [{"name": key, "paper": paper, "here": here}]


@pytest.mark.parametrize("key", [key for key in LEAVES if key not in SAID])
def test_no_deviation_where_the_paper_says_nothing(key):
  expected = set() if key == "model.family" else set(NEEDED.get(key, {})) & set(SAID)
  assert {row["name"] for row in changed(key).deviations()} == expected


@pytest.mark.parametrize("key", LEAVES)
def test_to_dict_is_plain_json_and_comes_back(key):
  made = changed(key)
  values = made.to_dict()
  assert json.loads(json.dumps(values)) == values
  assert freeze(values) == made
  assert list(settings.flatten(values)) == list(LEAVES)


def test_freeze_leaves_its_argument_alone():
  values = with_values({"train.drops": [0.1]})
  before = copy.deepcopy(values)
  freeze(values)
  assert values == before


def test_a_plain_net_has_no_shortcut():
  assert Config().shortcut == "A"
  assert freeze({"model": {"kind": "plain"}}).shortcut is None
  assert freeze({"model": {"shortcut": "C"}}).shortcut == "C"
