"""A row of the layer table."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Layer:
  """One layer, with what it costs.

  Attributes:
    name: path in the net, "stage2/block1/conv1".
    kind: "conv", "dense", "norm", "bias" (one a channel), "scalar" (one number) or "pool".
    stage: 1-based, 0 for what lies outside the stages.
    block: 1-based position in its stage, 0 outside.
    kernel: side of the kernel; 1 for dense layers and norms.
    stride: of the convolution or the pooling.
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
    others = {"norm": 2 * self.outputs, "bias": self.outputs, "scalar": 1, "pool": 0}
    return others[self.kind] if self.kind in others else self._weights + self.outputs * self.biased

  @property
  def macs(self) -> int:
    """Multiply-adds for one image; norms, pooling and additions are not counted, as in the paper's FLOPs."""
    return self._weights * self.side[0] * self.side[1]

  @property
  def _weights(self) -> int:
    return self.kernel**2 * self.inputs * self.outputs if self.kind in ("conv", "dense") else 0
