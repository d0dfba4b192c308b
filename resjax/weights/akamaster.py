"""CIFAR nets of the PyTorch project akamaster/pytorch_resnet_cifar10, whose errors are close to the paper's."""

from collections.abc import Mapping

import numpy as np

from resjax.config import Data, Model
from resjax.data.augment import given
from resjax.settings import ConfigError
from resjax.weights import mapping, pytorch
from resjax.weights.mapping import Weights

STAGES = 3
IMAGE_SHAPE = (32, 32, 3)
# ImageNet's, with which that project normalises CIFAR.
DATA = Data(name="cifar10", normalize="given", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
NAMES = pytorch.Names(projection="shortcut", head="linear")


def read(arrays: Mapping[str, np.ndarray]) -> Weights:
  """Returns the net of a state dict.

  Its option A subsamples and adds half of the zeros on each side of the channels.

  Raises:
    ConfigError: it is another net's, or an array is missing, left over or wrong.
  """
  found = pytorch.structure(arrays, NAMES)
  if len(found.blocks) != STAGES or len(set(found.blocks)) > 1:
    raise ConfigError(f"has {found}; CIFAR nets of this project have {STAGES} stages of the same number")
  model = Model(depth=found.depth, block=found.block, shortcut=found.shortcut or "A", option_a_zeros="both")
  variables, mapped = mapping.read(
    mapping.shapes(model, found.classes, IMAGE_SHAPE), arrays, NAMES.array, pytorch.is_counter
  )
  statistics = given(DATA)
  return Weights(model, DATA, IMAGE_SHAPE, found.classes, statistics, variables, mapped)
