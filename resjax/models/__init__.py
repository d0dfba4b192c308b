"""The nets: `build` makes one from its settings."""

from resjax import config
from resjax.models.resnet import ResNet


def build(net: config.Model, classes: int, scan: bool) -> ResNet:
  """Returns the net of the settings, with the blocks of a stage scanned or unrolled."""
  return ResNet(net, classes, scan)
