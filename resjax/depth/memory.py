"""Estimate of the memory that training needs from the layer table, without compiling."""

from resjax.depth.layer import Layer
from resjax.depth.net import Net

WIDTH = {"float32": 4, "bfloat16": 2}  # bytes per activation, by precision


def training_bytes(net: Net, precision: str, remat: str, images: int) -> int:
  """Returns the memory in bytes of the activations for the backward pass, the weights, the momentum and the gradient.

  Args:
    net: Layer table of the network.
    precision: Precision of the activations, a key of `WIDTH`.
    remat: A value of `execution.remat` other than "auto". For "group", which needs less, the value of "block" is
      returned.
    images: Images per step on one device.
  """
  none, block = activation_bytes(net, precision)
  return (block if remat in ("block", "group") else none) * images + 3 * 4 * net.params


def activation_bytes(net: Net, precision: str) -> tuple[int, int]:
  """Returns the bytes of activations that the backward pass of one image needs, without remat and with remat="block".

  Without remat, the outputs of each convolution, for its norm, and of each activation, for the next convolution, are
  kept. With remat, the outputs of all blocks and the activations inside the largest one are kept.

  Args:
    net: Layer table of the network.
    precision: Precision of the activations, a key of `WIDTH`.
  """
  kept = [layer for layer in net.table if layer.kind != "scalar" and not layer.name.endswith("projection_norm")]
  inside: dict[tuple[int, int], int] = {}
  for layer in kept:
    place = layer.stage, layer.block
    inside[place] = inside.get(place, 0) + _units(layer)
  ends = {(layer.stage, layer.block): _units(layer) for layer in kept if layer.block}
  blocks = [units for (_, number), units in inside.items() if number]
  outside, size = sum(units for (_, number), units in inside.items() if not number), WIDTH[precision]
  return size * (outside + sum(blocks)), size * (outside + sum(ends.values()) + max(blocks))


def fitting_remat(net: Net, precision: str, images: int, memory: float) -> str:
  """Returns the value of `execution.remat` that recomputes the least among those whose estimate fits into memory.

  Args:
    net: Layer table of the network.
    precision: Precision of the activations.
    images: Images per step on one device.
    memory: Memory of one device that training may use, in bytes.
  """
  for remat in ("none", "block"):
    if training_bytes(net, precision, remat, images) <= memory:
      return remat
  return "group"


def _units(layer: Layer) -> int:
  return layer.outputs * layer.side[0] * layer.side[1]
