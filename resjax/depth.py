"""Depth arithmetic: legal depths, stages, layer tables, parameters and multiply-adds. No JAX.

A net is described once, as a table of layers; parameters and multiply-adds are sums over that table. The built Flax
model is held against it by the tests, so that "110 layers" means 110 weighted layers that are really there.
"""

import dataclasses
from collections.abc import Iterator

STAGE_WIDTHS = (16, 32, 64)  # filters of the three stages on maps of full, half and quarter size (Sec. 4.2)
BOTTLENECK_EXPANSION = 4  # the last 1x1 of a bottleneck restores to four times the width (Sec. 4.1)
LAYERS_A_BLOCK = {"basic": 2, "bottleneck": 3}


class DepthError(ValueError):
  """A depth that no net of the family has; the message names the nearest legal ones."""


def blocks_a_stage(depth: int, block: str = "basic") -> int:
  """Returns n of a CIFAR net of 6n+2 (basic) or 9n+2 (bottleneck) weighted layers (Sec. 4.2).

  Raises:
    DepthError: `depth` is not legal for the block; names the nearest legal depths.
  """
  period = len(STAGE_WIDTHS) * LAYERS_A_BLOCK[block]
  n, rest = divmod(depth - 2, period)
  if n >= 1 and rest == 0:
    return n
  below, above = max(n, 1) * period + 2, (max(n, 0) + 1) * period + 2
  nearest = str(above) if above == below else f"{below} and {above}"
  raise DepthError(f"not {period}n+2, the depths of {block} blocks in three stages; nearest: {nearest}")


@dataclasses.dataclass(frozen=True)
class Layer:
  """One row of the layer table.

  Attributes:
    name: path in the net, "stage2/block1/conv1".
    kind: "conv", "norm" or "dense".
    stage: 1-based, 0 for what lies outside the stages.
    block: 1-based position in its stage, 0 outside.
    kernel: side of the kernel; 1 for dense layers and norms.
    stride: of the convolution.
    inputs, outputs: channels.
    side: (height, width) of the output map.
    weighted: counted in the depth (projections are not).
    biased: has a bias of its own.
  """

  name: str
  kind: str
  stage: int
  block: int
  kernel: int
  stride: int
  inputs: int
  outputs: int
  side: tuple[int, int]
  weighted: bool = False
  biased: bool = False

  @property
  def params(self) -> int:
    """Trained numbers: kernel and bias, or a norm's scale and bias."""
    if self.kind == "norm":
      return 2 * self.outputs
    return self.kernel**2 * self.inputs * self.outputs + self.outputs * self.biased

  @property
  def macs(self) -> int:
    """Multiply-adds for one image; norms and additions are not counted, as in the paper's FLOPs."""
    if self.kind == "norm":
      return 0
    return self.kernel**2 * self.inputs * self.outputs * self.side[0] * self.side[1]


@dataclasses.dataclass(frozen=True)
class Net:
  """What decides the layer table of a net of the CIFAR family (Sec. 4.2).

  Attributes:
    kind: "residual" or "plain".
    depth: weighted layers, 6n+2 for basic and 9n+2 for bottleneck blocks.
    block: "basic" or "bottleneck".
    shortcut: "A", "B" or "C" (Sec. 3.3 and 4.1); of no effect in a plain net.
    preactivation: norm and activation before each convolution instead of after.
    image_shape: (height, width, channels) of the input.
    classes: width of the last layer.
  """

  kind: str
  depth: int
  block: str
  shortcut: str
  preactivation: bool
  image_shape: tuple[int, int, int]
  classes: int

  def projects(self, stride: int, inputs: int, outputs: int) -> bool:
    """Whether a block with this stride and these channels has a projection on its shortcut."""
    if self.kind == "plain" or self.shortcut == "A":
      return False
    return self.shortcut == "C" or stride != 1 or inputs != outputs

  @property
  def table(self) -> list[Layer]:
    """The layers from input to output; a block's projection follows its main branch.

    Raises:
      DepthError: the depth is not legal.
    """
    return list(self._layers())

  @property
  def params(self) -> int:
    """Trained numbers of the whole net."""
    return sum(layer.params for layer in self.table)

  @property
  def macs(self) -> int:
    """Multiply-adds of one image's forward pass."""
    return sum(layer.macs for layer in self.table)

  def _layers(self) -> Iterator[Layer]:
    n = blocks_a_stage(self.depth, self.block)
    height, width, channels = self.image_shape
    yield Layer("stem/conv", "conv", 0, 0, 3, 1, channels, STAGE_WIDTHS[0], (height, width), weighted=True)
    channels = STAGE_WIDTHS[0]
    if not self.preactivation:
      yield Layer("stem/norm", "norm", 0, 0, 1, 1, channels, channels, (height, width))
    for stage, filters in enumerate(STAGE_WIDTHS, 1):
      for block in range(1, n + 1):
        stride = 2 if stage > 1 and block == 1 else 1
        before, (height, width) = (height, width), (-(-height // stride), -(-width // stride))
        outputs = filters * (BOTTLENECK_EXPANSION if self.block == "bottleneck" else 1)
        yield from self._block(stage, block, stride, channels, filters, before, (height, width))
        if self.projects(stride, channels, outputs):
          path = f"stage{stage}/block{block}/projection"
          yield Layer(path, "conv", stage, block, 1, stride, channels, outputs, (height, width))
          if not self.preactivation:
            yield Layer(f"{path}_norm", "norm", stage, block, 1, 1, outputs, outputs, (height, width))
        channels = outputs
    if self.preactivation:
      yield Layer("head/norm", "norm", 0, 0, 1, 1, channels, channels, (height, width))
    yield Layer("head/dense", "dense", 0, 0, 1, 1, channels, self.classes, (1, 1), weighted=True, biased=True)

  def _block(
    self,
    stage: int,
    block: int,
    stride: int,
    inputs: int,
    filters: int,
    before: tuple[int, int],
    after: tuple[int, int],
  ) -> Iterator[Layer]:
    """The main branch; stride 2 stands on its first convolution (Sec. 3.3 and 4.1)."""
    outputs = filters * BOTTLENECK_EXPANSION
    shapes = {
      "basic": ((3, filters), (3, filters)),
      "bottleneck": ((1, filters), (3, filters), (1, outputs)),
    }[self.block]
    for i, (kernel, channels) in enumerate(shapes, 1):
      path = f"stage{stage}/block{block}"
      normed, side = (inputs, before if i == 1 else after) if self.preactivation else (channels, after)
      norm = Layer(f"{path}/norm{i}", "norm", stage, block, 1, 1, normed, normed, side)
      conv = Layer(
        f"{path}/conv{i}",
        "conv",
        stage,
        block,
        kernel,
        stride if i == 1 else 1,
        inputs,
        channels,
        after,
        weighted=True,
      )
      yield from (norm, conv) if self.preactivation else (conv, norm)
      inputs = channels
