"""Export of a trained network as a PyTorch state dict."""

from typing import Any

import jax
import numpy as np

from resjax.config import Model
from resjax.models import layout
from resjax.settings import ConfigError
from resjax.train.run_files import RestoredRun
from resjax.weights import akamaster, mapping, option_a_channels, pytorch, torchvision

# Values of settings that the code of those projects implies; the arrays of a state dict do not determine all of them.
COMMON: dict[str, tuple[Any, ...]] = {
  "kind": ("residual",),
  "preactivation": (False,),
  "padding": ("symmetric",),
  "norm": ("batch",),
  "norm_epsilon": (1e-5,),
  "activation": ("relu",),
  "branch_scale": (0.0,),
  "survival": (1.0,),
}
ALLOWED: dict[str, dict[str, tuple[Any, ...]]] = {
  "cifar": {
    **COMMON,
    "shortcut": ("A", "B"),
    "block": ("basic",),
    "width": (0, 16),
    "stem": ("auto", "3x3"),
    "option_a_stride": ("subsample",),
  },
  "imagenet": {
    **COMMON,
    "shortcut": ("B",),
    "block": ("basic", "bottleneck"),
    "width": (0, 64),
    "stem": ("auto", "7x7"),
    "pool_padding": ("symmetric",),
  },
}
STAGES = {"cifar": akamaster.STAGES, "imagenet": 4}
NAMES = {"cifar": akamaster.NAMES, "imagenet": torchvision.NAMES}


def state_dict(net: RestoredRun) -> dict[str, np.ndarray]:
  """Returns the arrays of a network under the names of pytorch_resnet_cifar10 (CIFAR) or torchvision (ImageNet).

  The numbers of input channels and of classes are those of the network. Zero channels that an option-A shortcut adds at
  the end are moved to both sides, where akamaster's code adds them. The exported network expects images normalized by
  the statistics in `input.npz`.

  Raises:
    ConfigError: The project's code cannot represent the network.
  """
  model = net.config.model
  check(model)
  variables = {name: layout.unstacked(jax.tree.map(np.asarray, tree)) for name, tree in net.variables.items()}
  if model.shortcut == "A" and model.option_a_zeros == "end":
    variables = option_a_channels.zeros_on_both_sides(variables)
  return pytorch.with_counters(mapping.export(variables, NAMES[model.family].array))


def check(model: Model) -> None:
  """Raises ConfigError if the code of the PyTorch project cannot represent a network."""
  if model.family not in ALLOWED:
    raise ConfigError(f"model.family = {model.family!r}: must be {' or '.join(map(repr, ALLOWED))} to be exported")
  allowed = dict(ALLOWED[model.family])
  if model.block == "bottleneck":
    allowed["bottleneck_stride"] = ("3x3",)
  for key, values in allowed.items():
    if getattr(model, key) not in values:
      listed = " or ".join(map(repr, values))
      raise ConfigError(f"model.{key} = {getattr(model, key)!r}: must be {listed} to be exported to PyTorch")
  stages, blocks = STAGES[model.family], model.structure.blocks_per_stage
  if len(blocks) != stages or (model.family == "cifar" and len(set(blocks)) > 1):
    equal = " with equally many blocks" if model.family == "cifar" else ""
    raise ConfigError(f"model.blocks = {model.blocks}: must be {stages} stages{equal} to be exported to PyTorch")
