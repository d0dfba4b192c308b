"""The configuration: allowed values, errors, digests and conversions; `test_config_fuzz.py` tries random input."""

import copy
import json

import pytest

from resjax import settings
from resjax.config import Config, freeze
from resjax.settings import ConfigError, Range
from tests.config_values import BASE, LEAVES, with_other_value, with_values


def refusal(values: dict) -> str:
  """Returns the one-line error of setting values by dotted key."""
  with pytest.raises(ConfigError) as caught:
    freeze(with_values(values))
  assert "\n" not in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize("key", LEAVES)
def test_every_setting_has_a_meaning_and_numbers_have_a_range(key):
  field = LEAVES[key]
  assert field.metadata["meaning"]
  number = field.default if not isinstance(field.default, tuple) else 0
  if isinstance(number, int | float) and not isinstance(number, bool):
    assert isinstance(field.metadata["allowed"], Range)


@pytest.mark.parametrize("key", LEAVES)
@pytest.mark.parametrize(
  "value", [None, {}, {"a": 1}, object(), float("nan"), float("inf"), b"x"], ids=lambda value: type(value).__name__
)
def test_values_of_wrong_types_are_refused(key, value):
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
      "model.block = 'dense': must be one of basic, bottleneck, single in networks of model.family = 'cifar'",
    ),
    (
      {"model.family": "vgg", "model.block": "single", "model.depth": 16, "model.stem": "7x7"},
      "model.stem = '7x7': must be auto in networks of model.family = 'vgg'",
    ),
    (
      {"model.family": "vgg", "model.block": "single", "model.depth": 16, "model.preactivation": True},
      "model.preactivation = True: must be False in networks of model.family = 'vgg'",
    ),
    ({"model.shortcut": "skipinit"}, "model.shortcut = 'skipinit': replaces normalization; needs model.norm = 'none'"),
    (
      {"model.shortcut": "fixup", "model.norm": "none", "model.block": "single"},
      "model.shortcut = 'fixup': needs blocks of two or more layers, not model.block = 'single'",
    ),
    (
      {"model.shortcut": "fixup", "model.norm": "none", "model.preactivation": True},
      "model.shortcut = 'fixup': needs model.preactivation = False",
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
      "model.branch_scale = 1.0: must be 0.0 with model.shortcut = 'gated', which scales main branches itself",
    ),
    ({"model.survival": 0.5, "model.kind": "plain"}, "model.survival = 0.5: needs model.kind = 'residual'"),
    (
      {"model.survival": 0.5, "model.shortcut": "gated"},
      "model.survival = 0.5: must be 1.0 with model.shortcut = 'gated', which scales main branches itself",
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
      "execution.profile = 1: needs a second interval to trace; set execution.log_every = 100 below train.steps = 100",
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
def test_errors_name_key_value_and_what_is_allowed(values, says):
  assert refusal(values) == says


@pytest.mark.parametrize("key", LEAVES)
def test_the_digest_covers_all_settings_except_execution(key):
  assert (with_other_value(key).digest == BASE.digest) is key.startswith("execution.")


def test_the_digest_does_not_depend_on_notation_or_order():
  one, other = with_values({"train.learning_rate": 1, "train.drops": [0, 1]}), {"data": {"pad": 4}}
  assert freeze(one).digest == freeze(with_values({"train.learning_rate": 1.0, "train.drops": (0.0, 1.0)})).digest
  assert freeze(other).digest == Config().digest
  assert freeze(dict(reversed(with_values({}).items()))).digest == BASE.digest


@pytest.mark.parametrize("key", LEAVES)
def test_to_dict_is_json_and_can_be_frozen_again(key):
  made = with_other_value(key)
  values = made.to_dict()
  assert json.loads(json.dumps(values)) == values
  assert freeze(values) == made
  assert list(settings.flatten(values)) == list(LEAVES)


def test_freeze_does_not_change_its_argument():
  values = with_values({"train.drops": [0.1]})
  before = copy.deepcopy(values)
  freeze(values)
  assert values == before


def test_a_plain_network_has_no_shortcut():
  assert Config().shortcut == "A"
  assert freeze({"model": {"kind": "plain"}}).shortcut is None
  assert freeze({"model": {"shortcut": "C"}}).shortcut == "C"
