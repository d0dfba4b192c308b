"""Lower bound of the time of a training step from its arithmetic, memory traffic and communication."""

import dataclasses

from resjax.config import Config
from resjax.depth import Net
from resjax.depth.memory import ACTIVATION_BYTES
from resjax.planning.chips import Slice

# Number of times that an array is read or written, (forward, backward), if kernels are fused up to the sums over the
# batch. Forward: a convolution reads its input and writes its output; a norm reads twice and writes once. Backward: a
# convolution reads its input and the gradient of its output and writes the gradient of its input; a norm reads its
# input and the gradient of its output twice and writes once.
CONV_IN, CONV_OUT, NORM = (1, 2), (1, 1), (3, 5)


@dataclasses.dataclass(frozen=True)
class Step:
  """Lower bounds of the time of a training step, in seconds.

  Attributes:
    compute: Time of the multiply-adds at the chip's peak rate.
    memory: Time of reading and writing activations and their gradients at the memory's bandwidth.
    exchange: Time of summing the gradients over the chips at the bandwidth of their links.
  """

  compute: float
  memory: float
  exchange: float

  @property
  def seconds(self) -> float:
    """Lower bound in seconds if arithmetic and memory traffic overlap and communication follows."""
    return max(self.compute, self.memory) + self.exchange


def step(config: Config, net: Net, slice_: Slice, devices: int) -> Step:
  """Returns the lower bounds of a training step; with remat the forward pass of each block is computed twice.

  Args:
    config: Settings of the run.
    net: Layer table of its network.
    slice_: Slice of chips.
    devices: Number of chips to use.
  """
  forwards = 2 if config.execution.remat in ("block", "group") else 1
  images = config.train.batch_size / devices
  chip, precision = slice_.chip, config.model.precision
  exchanged = 2 * 4 * net.params * (devices - 1) / devices  # bytes of a reduce-scatter and an all-gather in float32
  return Step(
    2 * net.macs * (forwards + 2) * images / chip.flops[precision],
    moved_bytes(net, precision, forwards) * images / chip.bandwidth,
    exchanged / chip.links,
  )


def moved_bytes(net: Net, precision: str, forwards: int = 1) -> int:
  """Returns the bytes of activations and their gradients that a training step reads and writes for one image.

  Weights are not included, nor are additions, which are fused with a norm.

  Args:
    net: Layer table of the network.
    precision: Precision of the activations.
    forwards: Number of times that the forward pass is computed, 2 with remat.
  """
  conv_in, conv_out, norm = (forward * forwards + backward for forward, backward in (CONV_IN, CONV_OUT, NORM))
  values = 0
  for layer in net.table:
    units = layer.size[0] * layer.size[1]
    if layer.kind == "norm":
      values += norm * layer.outputs * units
    elif layer.kind == "conv":
      values += conv_in * layer.inputs * units * layer.stride**2 + conv_out * layer.outputs * units
  return values * ACTIVATION_BYTES[precision]
