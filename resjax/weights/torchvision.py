"""ImageNet networks of PyTorch's torchvision, whose parameter names timm shares."""

from collections.abc import Mapping

import numpy as np

from resjax.config import Data, Model
from resjax.data.augment import given
from resjax.depth.structure import FAMILIES
from resjax.settings import ConfigError
from resjax.weights import mapping, pytorch
from resjax.weights.mapping import Weights

SIDE = 224
DATA = Data(name="folder", image_size=SIDE, normalize="given", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
NAMES = pytorch.Names(projection="downsample", head="fc")


def read(arrays: Mapping[str, np.ndarray]) -> Weights:
  """Converts the state dict of a network. The 3x3 layer of a bottleneck block has stride 2 (v1.5).

  Raises:
    ConfigError: The state dict is of another architecture, or an array is missing, unexpected or invalid.
  """
  found = pytorch.structure(arrays, NAMES)
  model = imagenet(
    found, len(arrays["conv1.weight"]) if "conv1.weight" in arrays else 0, stride="3x3", pool_padding="symmetric"
  )
  image_shape = (SIDE, SIDE, 3)
  variables, mapped = mapping.read(
    mapping.shapes(model, found.classes, image_shape), arrays, NAMES.array, pytorch.is_counter
  )
  statistics = given(DATA)
  return Weights(model, DATA, image_shape, found.classes, statistics, variables, mapped)


def imagenet(found: pytorch.Structure, width: int, stride: str, pool_padding: str) -> Model:
  """Returns the settings of a network of the ImageNet family.

  Args:
    found: Structure of the network.
    width: Filters of the first stage.
    stride: Layer of a bottleneck block that has stride 2, `model.bottleneck_stride`.
    pool_padding: Padding of the stem's max pooling, `model.pool_padding`.

  Raises:
    ConfigError: The network has no projections.
  """
  if found.shortcut is None:
    raise ConfigError("has no projections (option A), which networks of this project must have")
  family = FAMILIES["imagenet"]
  listed = family.published.get((found.block, found.depth)) == found.blocks
  return Model(
    family="imagenet",
    depth=found.depth,
    blocks=() if listed else found.blocks,
    block=found.block,
    width=0 if width == family.width else width,
    shortcut=found.shortcut,
    bottleneck_stride=stride,
    pool_padding=pool_padding,
  )
