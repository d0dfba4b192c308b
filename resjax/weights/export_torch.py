"""Export of a trained network as a PyTorch state dict."""

import jax
import numpy as np

from resjax.config import Model
from resjax.models import layout
from resjax.settings import ConfigError
from resjax.train.run_files import RestoredRun
from resjax.weights import akamaster, mapping, option_a_channels, pytorch, torchvision

# Settings that the code of those projects implies; a state dict does not contain them.
FIXED = {
  "cifar": {"kind": "residual", "preactivation": False, "padding": "symmetric", "option_a_stride": "subsample"},
  "imagenet": {"kind": "residual", "preactivation": False, "padding": "symmetric", "pool_padding": "symmetric"},
}
SHORTCUTS = {"cifar": ("A", "B"), "imagenet": ("B",)}
NAMES = {"cifar": akamaster.NAMES, "imagenet": torchvision.NAMES}


def state_dict(net: RestoredRun) -> dict[str, np.ndarray]:
  """Returns the arrays of a network under the names of pytorch_resnet_cifar10 (CIFAR) or torchvision (ImageNet).

  Zero channels that an option-A shortcut adds at the end are moved to both sides, where akamaster's code adds them. The
  exported network expects images normalized by the statistics in `input.npz`.

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
  if model.family not in FIXED:
    raise ConfigError(f"model.family = {model.family!r}: must be {' or '.join(FIXED)} to be exported")
  allowed = SHORTCUTS[model.family]
  if model.kind == "residual" and model.shortcut not in allowed:
    raise ConfigError(f"model.shortcut = {model.shortcut!r}: must be {' or '.join(allowed)} to be exported to PyTorch")
  fixed = dict(FIXED[model.family])
  if model.family == "imagenet" and model.block == "bottleneck":
    fixed["bottleneck_stride"] = "3x3"
  fixed |= {"branch_scale": 0.0, "survival": 1.0, "activation": "relu", "norm": "batch"}
  for key, value in fixed.items():
    if getattr(model, key) != value:
      raise ConfigError(f"model.{key} = {getattr(model, key)!r}: must be {value!r} to be exported to PyTorch")
