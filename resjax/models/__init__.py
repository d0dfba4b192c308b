"""The nets: `build` makes one from its settings."""

from resjax import config
from resjax.models.resnet import ResNet
from resjax.models.stack import Loop
from resjax.models.vgg import VGG

__all__ = ["Loop", "build"]


def build(net: config.Model, classes: int, loop: Loop | None = None) -> ResNet | VGG:
  """Returns the net of the settings.

  Args:
    net: settings.
    classes: of the data set.
    loop: how its stacked blocks are executed; of no effect on its parameters.
  """
  kind = VGG if net.family == "vgg" else ResNet
  return kind(net, classes, loop or Loop())
