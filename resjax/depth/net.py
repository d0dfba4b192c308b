"""The layer table of a net."""

import dataclasses
from collections.abc import Iterator

from resjax.depth.layer import Layer
from resjax.depth.structure import Structure

Side = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Net:
  """A net for images of one size: its layers, their sum, and their price.

  Attributes:
    structure: of the net.
    image_shape: (height, width, channels) of the input.
    classes: width of the last layer.
  """

  structure: Structure
  image_shape: tuple[int, int, int]
  classes: int

  @property
  def table(self) -> list[Layer]:
    """The layers from input to output; a block's projection follows its main branch."""
    layers = list(self._stem())
    for number, stage in enumerate(self.structure.stages, 1):
      for block in range(1, stage.blocks + 1):
        layers += self._block(number, block, stage.stride if block == 1 else 1, stage.filters, layers[-1])
    return layers + list(self._head(layers[-1]))

  @property
  def params(self) -> int:
    """Trained numbers of the whole net."""
    return sum(layer.params for layer in self.table)

  @property
  def macs(self) -> int:
    """Multiply-adds of one image's forward pass."""
    return sum(layer.macs for layer in self.table)

  def _stem(self) -> Iterator[Layer]:
    channels, filters = self.image_shape[2], self.structure.stages[0].filters
    kernel, stride = (7, 2) if self.structure.first_layers == "7x7" else (3, 1)
    side = divided(self.image_shape[:2], stride)
    yield Layer("stem/conv", "conv", 0, 0, kernel, stride, channels, filters, side, weighted=True)
    if not self.structure.preactivation:
      yield Layer("stem/norm", "norm", 0, 0, 1, 1, filters, filters, side)
    if self.structure.first_layers == "7x7":
      height, width = ((size + sum(self.structure.pool_pads) - 3) // 2 + 1 for size in side)
      yield Layer("stem/pool", "pool", 0, 0, 3, 2, filters, filters, (height, width))

  def _block(self, stage: int, block: int, stride: int, filters: int, before: Layer) -> Iterator[Layer]:
    path, preactivation = f"stage{stage}/block{block}", self.structure.preactivation
    channels, side = before.outputs, before.side
    layers = zip(self.structure.layers(filters), self.structure.strides(stride), strict=True)
    for i, ((kernel, outputs), own_stride) in enumerate(layers, 1):
      normed = (channels, side) if preactivation else (outputs, divided(side, own_stride))
      side = divided(side, own_stride)
      norm = Layer(f"{path}/norm{i}", "norm", stage, block, 1, 1, normed[0], *normed)
      name = f"{path}/conv{i}"
      conv = Layer(name, "conv", stage, block, kernel, own_stride, channels, outputs, side, weighted=True)
      yield from (norm, conv) if preactivation else (conv, norm)
      channels = outputs
    if self.structure.projects(stride, before.outputs, channels):
      yield Layer(f"{path}/projection", "conv", stage, block, 1, stride, before.outputs, channels, side)
      if not preactivation:
        yield Layer(f"{path}/projection_norm", "norm", stage, block, 1, 1, channels, channels, side)

  def _head(self, before: Layer) -> Iterator[Layer]:
    channels = before.outputs
    if self.structure.preactivation:
      yield Layer("head/norm", "norm", 0, 0, 1, 1, channels, channels, before.side)
    yield Layer("head/dense", "dense", 0, 0, 1, 1, channels, self.classes, (1, 1), weighted=True, biased=True)


def divided(side: Side, stride: int) -> Side:
  """Returns the side of a map after a layer of this stride, rounded up."""
  return -(-side[0] // stride), -(-side[1] // stride)
