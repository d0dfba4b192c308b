"""Plain and residual networks of any valid depth, for CIFAR (Sec. 4.2) and ImageNet (Table 1)."""

import jax
from flax import linen as nn

from resjax import config, depth
from resjax.models import fixup, initializers, stochastic_depth
from resjax.models.activations import activation
from resjax.models.block_scan import ScanOptions, scan_blocks
from resjax.models.blocks import Block, normalization
from resjax.models.conv import Conv
from resjax.models.pool import max_pool
from resjax.models.precision import at_least_float32
from resjax.models.response_statistics import COLLECTION, sow_response


class ResNet(nn.Module):
  """A network of a stem, stages of blocks, global average pooling and a fully connected layer.

  Attributes:
    net: Settings of the network.
    classes: Number of classes, the width of the last layer.
    scan: How the stacked blocks of a stage, all after its first, are executed.
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
      kept: Result of `stochastic_depth.draw`, bool [blocks], or of `dropout.draw`, uint32 [blocks, key size]. None: no
        block is dropped; main branches are scaled by their survival probabilities, or dropout is replaced by its mean.

    Returns:
      Logits, float32 [B, classes]. Activations have the dtype `config.Model.precision`.
    """
    x = x_BxHxWxC if self.net.precision == "float32" else x_BxHxWxC.astype(self.net.precision)
    stages, survival = self.net.structure.stages, stochastic_depth.survival_by_stage(self.net, kept)
    x = Stem(stages[0].filters, self.net, name="stem")(x, train)
    for i, stage in enumerate(stages, 1):
      x = Stage(stage, self.net, self.scan, name=f"stage{i}")(x, train, survival[i - 1])
    return Head(self.classes, self.net, name="head")(x, train)


class Stem(nn.Module):
  """First layers: a 3x3 convolution; a 7x7 convolution and a 3x3 max pooling, both of stride 2; or a dense layer.

  The dense layer, for networks of dense layers, is a 1x1 convolution of the image flattened to one pixel.

  Attributes:
    filters: Output channels.
    net: Settings of the network.
  """

  filters: int
  net: config.Model

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
    """Returns [B, H, W, filters], [B, H / 4, W / 4, filters] or [B, 1, 1, filters]."""
    x, layers = x_BxHxWxC, self.net.structure.first_layers
    kernel, stride = {"flat": (1, 1), "3x3": (3, 1), "7x7": (7, 2)}[layers]
    if layers == "flat":
      x = x.reshape(len(x), 1, 1, -1)
    start = initializers.kernel(self.net)
    y = Conv(self.filters, kernel, stride, padding=self.net.padding, start=start, name="conv")(x)
    if self.net.structure.fixup:
      y = fixup.add_bias(y, "bias")
    elif not self.net.preactivation:
      y = normalization(self.net, train, name="norm")(y)
    sow_response(self, "conv", y)
    if not self.net.preactivation:
      y = activation(self.net)(y)
    return max_pool(y, 3, (self.net.structure.stem_pool_padding,) * 2) if layers == "7x7" else y


class Stage(nn.Module):
  """Consecutive blocks with feature maps of one size, which the first block may halve.

  The blocks after the first are equal, and their variables are stacked under the name `rest`.

  Attributes:
    stage: Filters, stride and number of blocks.
    net: Settings of the network.
    scan: How the stacked blocks are executed.
  """

  stage: depth.Stage
  net: config.Model
  scan: ScanOptions

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool, survival: jax.Array | None) -> jax.Array:
    """Applies the blocks.

    Args:
      x_BxHxWxC: Input.
      train: Whether to normalize by the statistics of the batch and update the running statistics.
      survival: Argument `survival` of each block, [blocks, ...], see `Block`; None: neither stochastic depth nor
        dropout.

    Returns:
      Output [B, H / stride, W / stride, output channels].
    """
    filters, rest = self.stage.filters, self.stage.blocks - 1
    first, others = (None, None) if survival is None else (survival[0], survival[1:])
    x = Block(filters, self.stage.stride, self.net, name="block1")(x_BxHxWxC, train, survival=first)
    if rest == 0:
      return x
    block = Block(filters, 1, self.net, parent=None)
    if self.is_initializing():
      keys = jax.random.split(self.make_rng("params"), rest)
      for collection, stacked in jax.vmap(lambda key: block.init(key, x, train))(keys).items():
        self.put_variable(collection, "rest", stacked)
    variables = {
      name: self.get_variable(name, "rest") for name in ("params", "batch_stats") if self.has_variable(name, "rest")
    }
    changing = [name for name in ("batch_stats", COLLECTION) if self.is_mutable_collection(name)]
    x, changed = scan_blocks(
      lambda x, own: block.apply(own[0], x, train, survival=own[1], mutable=changing),
      x,
      (variables, others),
      self.scan,
    )
    for collection, stacked in changed.items():
      self.put_variable(collection, "rest", stacked)
    return x


class Head(nn.Module):
  """Global average pooling and the classifier, a fully connected layer.

  Attributes:
    classes: Number of classes.
    net: Settings of the network.
  """

  classes: int
  net: config.Model

  @nn.compact
  def __call__(self, x_BxHxWxC: jax.Array, train: bool) -> jax.Array:
    """Returns logits, float32 [B, classes]."""
    x = x_BxHxWxC
    if self.net.preactivation:
      x = activation(self.net)(normalization(self.net, train, name="norm")(x))
    x = at_least_float32(x).mean((1, 2))
    if self.net.structure.fixup:
      x = fixup.add_bias(x, "bias")
    return nn.Dense(self.classes, kernel_init=initializers.classifier_kernel(self.net), name="dense")(x)
