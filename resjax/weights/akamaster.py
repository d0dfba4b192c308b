"""CIFAR networks of the PyTorch project akamaster/pytorch_resnet_cifar10, whose errors are close to the paper's."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from resjax.config import Data, Model
from resjax.data.augment import given
from resjax.settings import ConfigError
from resjax.weights import mapping, pytorch
from resjax.weights.mapping import Weights

STAGES = 3
IMAGE_SHAPE = (32, 32, 3)
# The project normalizes CIFAR by the statistics of ImageNet.
DATA = Data(name="cifar10", normalize="given", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
DATA_SETS = {10: "cifar10", 100: "cifar100"}  # by number of classes; others are read from an .npz file
NAMES = pytorch.Names(projection="shortcut", head="linear")


def read(arrays: Mapping[str, np.ndarray]) -> Weights:
  """Converts the state dict of a network.

  The project's option A subsamples and adds half of the zero channels on each side.

  Raises:
    ConfigError: The state dict is of another architecture, or an array is missing, unexpected or invalid.
  """
  found = pytorch.structure(arrays, NAMES)
  if len(found.blocks) != STAGES or len(set(found.blocks)) > 1:
    raise ConfigError(f"has {found}; CIFAR networks of this project have {STAGES} stages with equally many blocks")
  model = Model(depth=found.depth, block=found.block, shortcut=found.shortcut or "A", option_a_zeros="both")
  variables, mapped = mapping.read(
    mapping.shapes(model, found.classes, IMAGE_SHAPE), arrays, NAMES.array, pytorch.is_counter
  )
  data = dataclasses.replace(DATA, name=DATA_SETS.get(found.classes, "npz"))
  return Weights(model, data, IMAGE_SHAPE, found.classes, given(data), variables, mapped)
