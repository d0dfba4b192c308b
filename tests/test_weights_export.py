"""Which networks can be exported as PyTorch state dicts."""

import pytest

from resjax.config import Model
from resjax.settings import ConfigError
from resjax.weights import export_torch


@pytest.mark.parametrize(
  "change",
  [
    {"preactivation": True},
    {"kind": "plain"},
    {"padding": "same"},
    {"option_a_stride": "average"},
    {"shortcut": "C"},
    {"shortcut": "half"},
    {"shortcut": "rezero"},
    {"branch_scale": 0.5},
    {"survival": 0.5},
    {"norm": "layer"},
    {"norm_epsilon": 1e-3},
    {"activation": "tanh"},
    {"block": "single"},
    {"block": "bottleneck", "depth": 29},
    {"width": 32},
    {"stem": "7x7"},
    {"blocks": (1, 1, 1, 1), "depth": 10},
    {"blocks": (1, 2, 1), "depth": 10},
    {"stem": "3x3", "family": "imagenet", "shortcut": "B", "depth": 18},
    {"width": 16, "family": "imagenet", "shortcut": "B", "depth": 18},
    {"block": "single", "family": "imagenet", "shortcut": "B", "blocks": (1, 1, 1, 1), "depth": 6},
    {"norm_epsilon": 1e-3, "family": "imagenet", "shortcut": "B", "depth": 18},
    {"blocks": (2, 2, 2), "family": "imagenet", "shortcut": "B", "depth": 14},
  ],
)
def test_networks_that_pytorch_projects_do_not_implement_are_not_exported(change):
  with pytest.raises(ConfigError, match=rf"^model.{next(iter(change))} = .*: must be .* to be exported"):
    export_torch.check(Model(**change))


@pytest.mark.parametrize(
  "settings",
  [
    {"depth": 110},
    {"shortcut": "B", "stem": "3x3", "width": 16},
    {"blocks": (3, 3, 3), "depth": 20},
    {"family": "imagenet", "shortcut": "B", "blocks": (1, 2, 1, 1), "depth": 12},
    {"family": "imagenet", "shortcut": "B", "depth": 50, "block": "bottleneck", "bottleneck_stride": "3x3"},
  ],
)
def test_networks_that_pytorch_projects_implement_are_exported(settings):
  export_torch.check(Model(**settings))


def test_option_a_is_not_exported_for_torchvision():
  with pytest.raises(ConfigError, match=r"^model.shortcut = 'A': must be 'B' to be exported"):
    export_torch.check(Model(family="imagenet", depth=18, shortcut="A"))


def test_bottlenecks_of_version_1_are_not_exported():
  with pytest.raises(ConfigError, match=r"model.bottleneck_stride = '1x1'"):
    export_torch.check(Model(family="imagenet", depth=50, block="bottleneck", shortcut="B"))
