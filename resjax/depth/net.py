"""Layer table of a network."""

import dataclasses
import math
from collections.abc import Iterator

from resjax.depth.layer import Layer
from resjax.depth.structure import GATED_SHORTCUTS, SHORTCUT_SCALARS, VGG_DENSE, Structure

Size = tuple[int, int]
PASSES_PER_STEP = 3  # a backward pass has the multiply-adds of two forward passes: gradients of inputs and of weights


@dataclasses.dataclass(frozen=True)
class Net:
  """A network for images of one size, as a table of layers.

  Attributes:
    structure: Structure of the network.
    image_shape: Height, width and channels of the input.
    classes: Number of classes, the width of the last layer.
  """

  structure: Structure
  image_shape: tuple[int, int, int]
  classes: int

  @property
  def table(self) -> list[Layer]:
    """Layers from input to output; the projection of a block follows its main branch."""
    height, width, channels = self.image_shape
    layers = [Layer("images", "", 0, 0, 1, 1, channels, channels, (height, width)), *self._stem()]
    for number, stage in enumerate(self.structure.stages, 1):
      for block in range(1, stage.blocks + 1):
        layers += self._block(number, block, stage.stride if block == 1 else 1, stage.filters, layers[-1])
      if self.structure.family == "vgg":
        channels, size = layers[-1].outputs, strided_size(layers[-1].size, 2)
        layers.append(Layer(f"stage{number}/pool", "pool", number, 0, 2, 2, channels, channels, size))
    return [*layers[1:], *self._head(layers[-1])]

  @property
  def stride(self) -> int:
    """Total stride: pixels of the image, vertically or horizontally, per pixel of the last feature map."""
    return math.prod(layer.stride for layer in self.table if layer.weighted or layer.kind == "pool")

  @property
  def params(self) -> int:
    """Number of parameters."""
    return sum(layer.params for layer in self.table)

  @property
  def macs(self) -> int:
    """Multiply-adds of the forward pass of one image."""
    return sum(layer.macs for layer in self.table)

  def training_macs(self, images: int) -> int:
    """Returns the multiply-adds of forward and backward passes of `images` images; two operations each, in FLOP."""
    return PASSES_PER_STEP * self.macs * images

  def _stem(self) -> Iterator[Layer]:
    filters, stem = self.structure.stages[0].filters, self.structure.first_layers
    height, width, channels = self.image_shape
    if stem == "none":
      return
    if stem == "flat":
      height, width, channels = 1, 1, height * width * channels
    kernel, stride = {"flat": (1, 1), "3x3": (3, 1), "7x7": (7, 2)}[stem]
    size = strided_size((height, width), stride)
    yield Layer("stem/conv", "conv", 0, 0, kernel, stride, channels, filters, size, weighted=True)
    if self.structure.fixup:
      yield _scalar("stem/bias", 0, 0, filters, size)
    elif not self.structure.preactivation:
      yield self._norm("stem/norm", 0, 0, filters, size)
    if stem == "7x7":
      height, width = ((length + sum(self.structure.stem_pool_padding) - 3) // 2 + 1 for length in size)
      yield Layer("stem/pool", "pool", 0, 0, 3, 2, filters, filters, (height, width))

  def _norm(self, name: str, stage: int, block: int, channels: int, size: Size) -> Layer:
    kind = "bias" if self.structure.norm == "none" else "norm"
    return Layer(name, kind, stage, block, 1, 1, channels, channels, size)

  def _block(self, stage: int, block: int, stride: int, filters: int, before: Layer) -> Iterator[Layer]:
    path, preactivation = f"stage{stage}/block{block}", self.structure.preactivation
    channels, size = before.outputs, before.size
    layers = zip(self.structure.layers(filters), self.structure.strides(stride), strict=True)
    for i, ((kernel, outputs), own_stride) in enumerate(layers, 1):
      after, name = strided_size(size, own_stride), f"{path}/conv{i}"
      conv = Layer(name, "conv", stage, block, kernel, own_stride, channels, outputs, after, weighted=True)
      if self.structure.fixup:
        last = i == self.structure.layers_per_block
        around = ("bias{}a", None, "scale", "bias{}b") if last else ("bias{}a", None, "bias{}b")
        yield from (_scalar(f"{path}/{n.format(i)}", stage, block, outputs, after) if n else conv for n in around)
      elif preactivation:
        yield from (self._norm(f"{path}/norm{i}", stage, block, channels, size), conv)
      else:
        yield from (conv, self._norm(f"{path}/norm{i}", stage, block, outputs, after))
      channels, size = outputs, after
    if self.structure.kind == "residual":
      main = Layer(path, "", stage, block, self.structure.layers(filters)[0][0], stride, before.outputs, channels, size)
      yield from self._shortcut(main)

  def _shortcut(self, block: Layer) -> Iterator[Layer]:
    """Yields the layers of a shortcut.

    Args:
      block: Main branch of the block, described as one layer.
    """
    path, place, size = block.name, (block.stage, block.block), block.size
    if self.structure.has_projection(block.stride, block.inputs, block.outputs):
      yield dataclasses.replace(block, name=f"{path}/projection", kind="conv", kernel=1)
      if not self.structure.preactivation:
        yield self._norm(f"{path}/projection_norm", *place, block.outputs, size)
    elif self.structure.shortcut in GATED_SHORTCUTS:
      kernel = block.kernel if self.structure.shortcut == "gated" else 1
      yield dataclasses.replace(block, name=f"{path}/gate", kind="conv", kernel=kernel)
      yield dataclasses.replace(block, name=f"{path}/gate_bias", kind="bias", kernel=1, stride=1, inputs=block.outputs)
    for name in SHORTCUT_SCALARS[self.structure.shortcut]:
      yield _scalar(f"{path}/{name}", *place, block.outputs, size)

  def _head(self, before: Layer) -> Iterator[Layer]:
    channels = before.outputs
    if self.structure.preactivation:
      yield self._norm("head/norm", 0, 0, channels, before.size)
    if self.structure.family == "vgg":
      channels *= before.size[0] * before.size[1]
      for i in (1, 2):
        yield Layer(f"head/dense{i}", "dense", 0, 0, 1, 1, channels, VGG_DENSE, (1, 1), weighted=True, biased=True)
        channels = VGG_DENSE
    if self.structure.fixup:
      yield _scalar("head/bias", 0, 0, channels, (1, 1))
    yield Layer("head/dense", "dense", 0, 0, 1, 1, channels, self.classes, (1, 1), weighted=True, biased=True)


def _scalar(name: str, stage: int, block: int, channels: int, size: Size) -> Layer:
  return Layer(name, "scalar", stage, block, 1, 1, channels, channels, size)


def strided_size(size: Size, stride: int) -> Size:
  """Returns the height and width of the output of a padded layer: those of its input over the stride, rounded up."""
  return -(-size[0] // stride), -(-size[1] // stride)
