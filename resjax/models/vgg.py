"""VGG networks (Simonyan and Zisserman 2014), the paper's baseline: 3x3 layers, pooling and dense layers.

They have no dropout in their dense layers, as in Sec. 3.4.
"""

import jax
from flax import linen as nn

from resjax import config
from resjax.depth import VGG_DENSE
from resjax.models import stochastic_depth
from resjax.models.activations import activation
from resjax.models.block_scan import ScanOptions
from resjax.models.conv import HE_NORMAL
from resjax.models.pool import max_pool
from resjax.models.precision import at_least_float32
from resjax.models.resnet import Stage


class VGG(nn.Module):
  """A network of stages of 3x3 layers, each followed by 2x2 max pooling, and three dense layers.

  Attributes:
    net: Settings of the network.
    classes: Number of classes, the width of the last layer.
    scan: How the stacked layers of a stage, all after its first, are executed.
  """

  net: config.Model
  classes: int
  scan: ScanOptions

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool, kept: jax.Array | None = None) -> jax.Array:
    """Returns logits.

    Args:
      x_BxHxWxC: Normalized images, float32.
      train: Whether to normalize by the statistics of the batch and update the running statistics.
      kept: Result of `stochastic_depth.draw` or `dropout.draw`, or None; see `ResNet`.

    Returns:
      Logits, float32 [B, classes]. Activations have the dtype `config.Model.precision`.
    """
    x = x_BxHxWxC if self.net.precision == "float32" else x_BxHxWxC.astype(self.net.precision)
    survival = stochastic_depth.survival_by_stage(self.net, kept)
    for i, stage in enumerate(self.net.structure.stages, 1):
      x = Stage(stage, self.net, self.scan, name=f"stage{i}")(x, train, survival[i - 1])
      height, width = x.shape[1:3]
      x = max_pool(x, 2, ((0, height % 2), (0, width % 2)))
    return Head(self.classes, self.net, name="head")(at_least_float32(x).reshape(len(x), -1))


class Head(nn.Module):
  """Two hidden dense layers of `depth.VGG_DENSE` units and the classifier.

  Attributes:
    classes: Number of classes.
    net: Settings of the network.
  """

  classes: int
  net: config.Model

  @nn.compact
  def __call__(self, x_BxN: jax.Array) -> jax.Array:
    """Returns logits, float32 [B, classes]."""
    for i in (1, 2):
      x_BxN = nn.Dense(VGG_DENSE, kernel_init=HE_NORMAL, name=f"dense{i}")(x_BxN)
      x_BxN = activation(self.net)(x_BxN)
    return nn.Dense(self.classes, kernel_init=HE_NORMAL, name="dense")(x_BxN)
