"""VGG nets (Simonyan and Zisserman 2014), which the paper measures itself against: 3x3 layers, pooling, dense layers.

Without dropout, as all nets here (Sec. 3.4).
"""

import jax
from flax import linen as nn

from resjax import config
from resjax.depth import VGG_DENSE
from resjax.models.block_scan import ScanOptions
from resjax.models.blocks import ACTIVATIONS
from resjax.models.conv import HE_NORMAL
from resjax.models.pool import max_pool
from resjax.models.precision import at_least_float32
from resjax.models.resnet import Stage


class VGG(nn.Module):
  """Stages of single 3x3 layers with 2x2 max pooling behind each, then three dense layers on all that is left.

  Attributes:
    net: its settings.
    classes: width of the last layer.
    scan: how the layers of a stage after its first, whose parameters are stacked, are executed.
  """

  net: config.Model
  classes: int
  scan: ScanOptions

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
    """Returns logits [B, classes], float32, of normalised images; between them all arrays have the net's precision."""
    x = x_BxHxWxC if self.net.precision == "float32" else x_BxHxWxC.astype(self.net.precision)
    for i, stage in enumerate(self.net.structure.stages, 1):
      x = Stage(stage, self.net, self.scan, name=f"stage{i}")(x, train)
      height, width = x.shape[1:3]
      x = max_pool(x, 2, ((0, height % 2), (0, width % 2)))
    return Head(self.classes, self.net, name="head")(at_least_float32(x).reshape(len(x), -1))


class Head(nn.Module):
  """Two wide dense layers and the classifier."""

  classes: int
  net: config.Model

  @nn.compact
  def __call__(self, x_BxN: jax.Array) -> jax.Array:
    """Returns logits [B, classes]."""
    for i in (1, 2):
      x_BxN = nn.Dense(VGG_DENSE, kernel_init=HE_NORMAL, name=f"dense{i}")(x_BxN)
      x_BxN = ACTIVATIONS[self.net.activation](x_BxN)
    return nn.Dense(self.classes, kernel_init=HE_NORMAL, name="dense")(x_BxN)
