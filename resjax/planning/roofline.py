"""The least time a training step can take on a chip, from what it computes, moves and exchanges."""

import dataclasses

from resjax.config import Config
from resjax.depth import Net
from resjax.depth.memory import WIDTH
from resjax.planning.chips import Slice

# How often an array crosses the memory between kernels that a sum over the batch keeps apart. Forward: a convolution
# reads its input and writes its output, a norm reads twice and writes once. Backward: a convolution reads its input and
# its output's gradient and writes its input's, a norm reads its input and its output's gradient twice and writes once.
CONV_IN, CONV_OUT, NORM = (1, 2), (1, 1), (3, 5)


@dataclasses.dataclass(frozen=True)
class Step:
  """Seconds of a training step, were only one thing to be done.

  Attributes:
    compute: multiply-adds at the chip's peak.
    memory: activations and their gradients at the memory's bandwidth.
    exchange: the sum of the gradients over the chips at the bandwidth of their links.
  """

  compute: float
  memory: float
  exchange: float

  @property
  def seconds(self) -> float:
    """The least: computing and moving overlap, the exchange is taken to follow."""
    return max(self.compute, self.memory) + self.exchange


def step(config: Config, net: Net, slice_: Slice, devices: int) -> Step:
  """Returns the bounds of a training step on some chips of a slice; with remat each block goes forward twice."""
  forwards = 2 if config.execution.remat in ("block", "group") else 1
  images = config.train.batch_size / devices
  chip, precision = slice_.chip, config.model.precision
  exchanged = 2 * 4 * net.params * (devices - 1) / devices  # each chip sends a share of the sum, and again the result
  return Step(
    2 * net.macs * (forwards + 2) * images / chip.flops[precision],
    moved_bytes(net, precision, forwards) * images / chip.bandwidth,
    exchanged / chip.links,
  )


def moved_bytes(net: Net, precision: str, forwards: int = 1) -> int:
  """Returns bytes of activations and their gradients that a training step has to move for one image.

  Weights are left out, and additions too, which fuse with a norm.
  """
  conv_in, conv_out, norm = (forward * forwards + backward for forward, backward in (CONV_IN, CONV_OUT, NORM))
  values = 0
  for layer in net.table:
    units = layer.side[0] * layer.side[1]
    if layer.kind == "norm":
      values += norm * layer.outputs * units
    elif layer.kind == "conv":
      values += conv_in * layer.inputs * units * layer.stride**2 + conv_out * layer.outputs * units
  return values * WIDTH[precision]
