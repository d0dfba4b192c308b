"""A net trained here, as a state dict under PyTorch's names."""

import jax
import numpy as np

from resjax.config import Model
from resjax.models import layout
from resjax.settings import ConfigError
from resjax.train.run_files import RestoredRun
from resjax.weights import akamaster, mapping, option_a_channels, pytorch, torchvision

# What the code of those projects computes; a file of weights does not say it.
FIXED = {
  "cifar": {"kind": "residual", "preactivation": False, "padding": "symmetric", "option_a_stride": "subsample"},
  "imagenet": {"kind": "residual", "preactivation": False, "padding": "symmetric", "pool_padding": "symmetric"},
}
NAMES = {"cifar": akamaster.NAMES, "imagenet": torchvision.NAMES}


def state_dict(net: RestoredRun) -> dict[str, np.ndarray]:
  """Returns the arrays of a CIFAR net as akamaster/pytorch_resnet_cifar10 names them, an ImageNet net's as torchvision.

  Zeros that an option-A shortcut adds behind the channels are moved to both sides, as the former has them. Images are
  to be normalised as `input.npz` says.

  Raises:
    ConfigError: it is a net that the project cannot compute.
  """
  model = net.config.model
  check(model)
  variables = {name: layout.unstacked(jax.tree.map(np.asarray, tree)) for name, tree in net.variables.items()}
  if model.shortcut == "A" and model.option_a_zeros == "end":
    variables = option_a_channels.zeros_on_both_sides(variables)
  return pytorch.with_counters(mapping.written(variables, NAMES[model.family].array))


def check(model: Model) -> None:
  """Raises ConfigError for a net that the project with its names in PyTorch cannot compute."""
  if model.family not in FIXED:
    raise ConfigError(f"model.family = {model.family!r}: there are names for {' and '.join(FIXED)}")
  fixed = dict(FIXED[model.family])
  if model.family == "imagenet" and model.block == "bottleneck":
    fixed["bottleneck_stride"] = "3x3"
  fixed |= {"branch_scale": 0.0, "survival": 1.0}
  for key, value in fixed.items():
    if getattr(model, key) != value:
      raise ConfigError(f"model.{key} = {getattr(model, key)!r}: these nets have {value!r} in PyTorch")
