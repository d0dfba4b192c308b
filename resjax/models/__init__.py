"""Network architectures: `build` constructs one from its settings."""

from resjax import config
from resjax.models.block_scan import ScanOptions
from resjax.models.resnet import ResNet
from resjax.models.vgg import VGG

__all__ = ["ScanOptions", "build"]


def build(net: config.Model, classes: int, scan: ScanOptions | None = None) -> ResNet | VGG:
  """Returns the network described by the settings.

  Args:
    net: Settings of the network.
    classes: Number of classes of the data set.
    scan: How the stacked blocks are executed; does not affect the parameters.
  """
  kind = VGG if net.family == "vgg" else ResNet
  return kind(net, classes, scan or ScanOptions())
