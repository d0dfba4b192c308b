"""The nets: `build` makes one from its settings."""

from resjax import config
from resjax.models.block_scan import ScanOptions
from resjax.models.resnet import ResNet
from resjax.models.vgg import VGG

__all__ = ["ScanOptions", "build"]


def build(net: config.Model, classes: int, scan: ScanOptions | None = None) -> ResNet | VGG:
  """Returns the net of the settings.

  Args:
    net: settings.
    classes: of the data set.
    scan: how its stacked blocks are executed; of no effect on its parameters.
  """
  kind = VGG if net.family == "vgg" else ResNet
  return kind(net, classes, scan or ScanOptions())
