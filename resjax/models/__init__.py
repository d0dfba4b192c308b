"""The nets: `build` makes one from its settings."""

from resjax import config
from resjax.models.resnet import ResNet


def build(net: config.Model, classes: int, scan: bool, remat: bool = False) -> ResNet:
  """Returns the net of the settings.

  Args:
    net: settings.
    classes: of the data set.
    scan: the blocks of a stage in a loop, or one by one.
    remat: keep a block's input only and compute its inside again in the backward pass.
  """
  return ResNet(net, classes, scan, remat)
