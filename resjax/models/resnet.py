"""The CIFAR nets, plain and residual, of any legal depth (Sec. 4.2)."""

import jax
from flax import linen as nn

from resjax import config
from resjax.depth import STAGE_WIDTHS, blocks_a_stage
from resjax.models import stack
from resjax.models.blocks import Block, batch_norm
from resjax.models.conv import HE_NORMAL, Conv
from resjax.models.precision import wide
from resjax.models.probes import COLLECTION, response


class ResNet(nn.Module):
  """A 3x3 convolution, three stages of blocks, global average pooling and one fully connected layer.

  Attributes:
    net: its settings.
    classes: width of the last layer.
    loop: how the blocks of a stage after its first, whose parameters are stacked, are executed.
  """

  net: config.Model
  classes: int
  loop: stack.Loop

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
    """Returns logits [B, classes], float32, of normalised images; between them all arrays have the net's precision."""
    x = x_BxHxWxC if self.net.precision == "float32" else x_BxHxWxC.astype(self.net.precision)
    x = Stem(STAGE_WIDTHS[0], self.net, name="stem")(x, train)
    for i, filters in enumerate(STAGE_WIDTHS, 1):
      x = Stage(filters, 1 if i == 1 else 2, self.net, self.loop, name=f"stage{i}")(x, train)
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
  """Blocks with maps of one size; the first may halve them. The others, `rest`, are equal and stacked."""

  filters: int
  stride: int
  net: config.Model
  loop: stack.Loop

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
    """Returns [B, H / stride, W / stride, output channels]."""
    x = Block(self.filters, self.stride, self.net, name="block1")(x_BxHxWxC, train)
    rest = blocks_a_stage(self.net.depth, self.net.block) - 1
    if rest == 0:
      return x
    block = Block(self.filters, 1, self.net, parent=None)
    if self.is_initializing():
      keys = jax.random.split(self.make_rng("params"), rest)
      for collection, stacked in jax.vmap(lambda key: block.init(key, x, train))(keys).items():
        self.put_variable(collection, "rest", stacked)
    changing = [name for name in ("batch_stats", COLLECTION) if self.is_mutable_collection(name)]
    x, changed = stack.apply(
      lambda x, variables: block.apply(variables, x, train, mutable=changing),
      x,
      {name: self.get_variable(name, "rest") for name in ("params", "batch_stats")},
      self.loop,
    )
    for collection, stacked in changed.items():
      self.put_variable(collection, "rest", stacked)
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
    return nn.Dense(self.classes, kernel_init=HE_NORMAL, name="dense")(wide(x).mean((1, 2)))
