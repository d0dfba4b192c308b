"""The CIFAR nets, plain and residual, of any legal depth (Sec. 4.2)."""

import jax
from flax import linen as nn

from resjax import config
from resjax.depth import STAGE_WIDTHS, blocks_a_stage
from resjax.models.blocks import Block, batch_norm
from resjax.models.conv import HE_NORMAL, Conv
from resjax.models.probes import COLLECTION, response


class ResNet(nn.Module):
  """A 3x3 convolution, three stages of blocks, global average pooling and one fully connected layer.

  Attributes:
    net: its settings.
    classes: width of the last layer.
    scan: the blocks of a stage after its first are a loop over stacked parameters; else they stand one by one.
      Both give the same numbers; `resjax.models.layout` converts the parameters.
    remat: whether the inside of a block is computed again in the backward pass instead of kept.
  """

  net: config.Model
  classes: int
  scan: bool
  remat: bool = False

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
    """Returns logits [B, classes] of normalised images."""
    x = Stem(STAGE_WIDTHS[0], self.net, name="stem")(x_BxHxWxC, train)
    for i, filters in enumerate(STAGE_WIDTHS, 1):
      x = Stage(filters, 1 if i == 1 else 2, self.net, self.scan, self.remat, name=f"stage{i}")(x, train)
    return Head(self.classes, self.net, name="head")(x, train)


class Stem(nn.Module):
  """The first 3x3 convolution."""

  filters: int
  net: config.Model

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
    """Returns [B, H, W, filters]."""
    y = Conv(self.filters, padding=self.net.padding, name="conv")(x_BxHxWxC)
    if not self.net.preactivation:
      y = batch_norm(self.net, train, name="norm")(y)
    response(self, "conv", y)
    return y if self.net.preactivation else nn.relu(y)


class Stage(nn.Module):
  """Blocks with maps of one size; the first may halve them."""

  filters: int
  stride: int
  net: config.Model
  scan: bool
  remat: bool

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
    """Returns [B, H / stride, W / stride, output channels]."""
    blocks = blocks_a_stage(self.net.depth, self.net.block)
    x = Block(self.filters, self.stride, self.net, name="block1")(x_BxHxWxC, train)

    def apply(block: Block, x: jax.Array) -> jax.Array:
      return block(x, train)

    if self.remat:
      apply = nn.remat(apply, prevent_cse=not self.scan)
    if self.scan and blocks > 1:
      loop = nn.scan(
        lambda block, x, _: (apply(block, x), None),
        variable_axes={"params": 0, "batch_stats": 0, COLLECTION: 0},
        split_rngs={"params": True},
        length=blocks - 1,
      )
      return loop(Block(self.filters, 1, self.net, name="rest"), x, None)[0]
    for i in range(2, blocks + 1):
      x = apply(Block(self.filters, 1, self.net, name=f"block{i}"), x)
    return x


class Head(nn.Module):
  """Global average pooling and the classifier."""

  classes: int
  net: config.Model

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
    """Returns logits [B, classes]."""
    x = x_BxHxWxC
    if self.net.preactivation:
      x = nn.relu(batch_norm(self.net, train, name="norm")(x))
    return nn.Dense(self.classes, kernel_init=HE_NORMAL, name="dense")(x.mean((1, 2)))
