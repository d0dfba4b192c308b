"""Networks for tests of layer tables."""

import dataclasses

from resjax.config import Model
from resjax.depth import Layer, Net

CIFAR = (32, 32, 3)


def net(depth: int, kind: str = "residual", **settings) -> Net:
  """Returns a network for CIFAR-10."""
  return Model(depth=depth, kind=kind, **settings).net(CIFAR, 10)


def imagenet(depth: int, **settings) -> Net:
  """Returns a network for ImageNet, by default with option B, to which the parameters of Table 1 belong."""
  block = "basic" if depth < 50 else "bottleneck"
  return Model(family="imagenet", depth=depth, block=block, **{"shortcut": "B"} | settings).net((224, 224, 3), 1000)


def blocks_per_stage(**settings) -> tuple[int, ...]:
  """Returns the blocks per stage of a CIFAR network; raises DepthError, where `Model` would raise ConfigError."""
  return dataclasses.replace(Model().structure, **settings).blocks_per_stage


def weighted(some: Net) -> list[Layer]:
  """Returns the layers that the depth of a network counts."""
  return [layer for layer in some.table if layer.weighted]
