"""Rows of the layer table."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Layer:
  """One layer, with its parameters and multiply-adds.

  Attributes:
    name: Path of the layer in the network, such as "stage2/block1/conv1".
    kind: "conv", "dense", "norm", "bias" (one per channel), "scalar" (a single parameter) or "pool".
    stage: 1-based index of the stage, 0 outside of the stages.
    block: 1-based position of the block in its stage, 0 outside of blocks.
    kernel: Kernel size in pixels; 1 for dense layers and norms.
    stride: Stride of the convolution or the pooling.
    inputs: Number of input channels.
    outputs: Number of output channels.
    size: Height and width of the output in pixels.
    weighted: Whether the layer counts in the depth; projections do not.
    biased: Whether the layer has a bias.
  """

  name: str
  kind: str
  stage: int
  block: int
  kernel: int
  stride: int
  inputs: int
  outputs: int
  size: tuple[int, int]
  weighted: bool = False
  biased: bool = False

  @property
  def params(self) -> int:
    """Number of parameters: of kernel and bias, or of a norm's scale and bias."""
    others = {"norm": 2 * self.outputs, "bias": self.outputs, "scalar": 1, "pool": 0}
    return others[self.kind] if self.kind in others else self._weights + self.outputs * self.biased

  @property
  def macs(self) -> int:
    """Multiply-adds for one image, the paper's FLOPs: those of norms, pooling and additions are not counted."""
    return self._weights * self.size[0] * self.size[1]

  @property
  def _weights(self) -> int:
    return self.kernel**2 * self.inputs * self.outputs if self.kind in ("conv", "dense") else 0
