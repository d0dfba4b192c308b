"""Layer table of a network."""

import dataclasses
from collections.abc import Iterator

from resjax.depth.layer import Layer
from resjax.depth.structure import GATED, SCALARS, VGG_DENSE, Structure

Side = tuple[int, int]


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
        channels, side = layers[-1].outputs, divided(layers[-1].side, 2)
        layers.append(Layer(f"stage{number}/pool", "pool", number, 0, 2, 2, channels, channels, side))
    return [*layers[1:], *self._head(layers[-1])]

  @property
  def params(self) -> int:
    """Number of parameters of the network."""
    return sum(layer.params for layer in self.table)

  @property
  def macs(self) -> int:
    """Multiply-adds of the forward pass of one image."""
    return sum(layer.macs for layer in self.table)

  def _stem(self) -> Iterator[Layer]:
    filters, stem = self.structure.stages[0].filters, self.structure.first_layers
    height, width, channels = self.image_shape
    if stem == "none":
      return
    if stem == "flat":
      height, width, channels = 1, 1, height * width * channels
    kernel, stride = {"flat": (1, 1), "3x3": (3, 1), "7x7": (7, 2)}[stem]
    side = divided((height, width), stride)
    yield Layer("stem/conv", "conv", 0, 0, kernel, stride, channels, filters, side, weighted=True)
    if self.structure.fixup:
      yield _scalar("stem/bias", 0, 0, filters, side)
    elif not self.structure.preactivation:
      yield self._norm("stem/norm", 0, 0, filters, side)
    if stem == "7x7":
      height, width = ((size + sum(self.structure.pool_pads) - 3) // 2 + 1 for size in side)
      yield Layer("stem/pool", "pool", 0, 0, 3, 2, filters, filters, (height, width))

  def _norm(self, name: str, stage: int, block: int, channels: int, side: Side) -> Layer:
    kind = "bias" if self.structure.norm == "none" else "norm"
    return Layer(name, kind, stage, block, 1, 1, channels, channels, side)

  def _block(self, stage: int, block: int, stride: int, filters: int, before: Layer) -> Iterator[Layer]:
    path, preactivation = f"stage{stage}/block{block}", self.structure.preactivation
    channels, side = before.outputs, before.side
    layers = zip(self.structure.layers(filters), self.structure.strides(stride), strict=True)
    for i, ((kernel, outputs), own_stride) in enumerate(layers, 1):
      after, name = divided(side, own_stride), f"{path}/conv{i}"
      conv = Layer(name, "conv", stage, block, kernel, own_stride, channels, outputs, after, weighted=True)
      if self.structure.fixup:
        last = i == self.structure.layers_a_block
        around = ("bias{}a", None, "scale", "bias{}b") if last else ("bias{}a", None, "bias{}b")
        yield from (_scalar(f"{path}/{n.format(i)}", stage, block, outputs, after) if n else conv for n in around)
      elif preactivation:
        yield from (self._norm(f"{path}/norm{i}", stage, block, channels, side), conv)
      else:
        yield from (conv, self._norm(f"{path}/norm{i}", stage, block, outputs, after))
      channels, side = outputs, after
    if self.structure.kind == "residual":
      main = Layer(path, "", stage, block, self.structure.layers(filters)[0][0], stride, before.outputs, channels, side)
      yield from self._shortcut(main)

  def _shortcut(self, block: Layer) -> Iterator[Layer]:
    """Yields the layers of a shortcut, for the main branch of a block described as one layer."""
    path, place, side = block.name, (block.stage, block.block), block.side
    if self.structure.projects(block.stride, block.inputs, block.outputs):
      yield dataclasses.replace(block, name=f"{path}/projection", kind="conv", kernel=1)
      if not self.structure.preactivation:
        yield self._norm(f"{path}/projection_norm", *place, block.outputs, side)
    elif self.structure.shortcut in GATED:
      kernel = block.kernel if self.structure.shortcut == "gated" else 1
      yield dataclasses.replace(block, name=f"{path}/gate", kind="conv", kernel=kernel)
      yield dataclasses.replace(block, name=f"{path}/gate_bias", kind="bias", kernel=1, stride=1, inputs=block.outputs)
    for name in SCALARS[self.structure.shortcut]:
      yield _scalar(f"{path}/{name}", *place, block.outputs, side)

  def _head(self, before: Layer) -> Iterator[Layer]:
    channels = before.outputs
    if self.structure.preactivation:
      yield self._norm("head/norm", 0, 0, channels, before.side)
    if self.structure.family == "vgg":
      channels *= before.side[0] * before.side[1]
      for i in (1, 2):
        yield Layer(f"head/dense{i}", "dense", 0, 0, 1, 1, channels, VGG_DENSE, (1, 1), weighted=True, biased=True)
        channels = VGG_DENSE
    if self.structure.fixup:
      yield _scalar("head/bias", 0, 0, channels, (1, 1))
    yield Layer("head/dense", "dense", 0, 0, 1, 1, channels, self.classes, (1, 1), weighted=True, biased=True)


def _scalar(name: str, stage: int, block: int, channels: int, side: Side) -> Layer:
  return Layer(name, "scalar", stage, block, 1, 1, channels, channels, side)


def divided(side: Side, stride: int) -> Side:
  """Returns height and width of a feature map after a layer of the given stride, rounded up."""
  return -(-side[0] // stride), -(-side[1] // stride)
