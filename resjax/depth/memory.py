"""Memory that training needs, estimated from the layer table where there is no compiler to ask."""

from resjax.depth.layer import Layer
from resjax.depth.net import Net

WIDTH = {"float32": 4, "bfloat16": 2}  # bytes of an activation, by precision


def training_bytes(net: Net, precision: str, remat: str, images: int) -> int:
  """Returns the bytes of what training keeps: activations for the backward pass; weights, momentum and gradient.

  Args:
    net: Layer table of the network.
    precision: Precision of the activations, a key of `WIDTH`.
    remat: A value of `execution.remat`, not "auto". "group" needs less than "block", which is what is returned for it.
    images: Images of a step on one device.
  """
  none, block = activation_bytes(net, precision)
  return (block if remat in ("block", "group") else none) * images + 3 * 4 * net.params


def activation_bytes(net: Net, precision: str) -> tuple[int, int]:
  """Returns the bytes that the backward pass of one image needs: all of them, or with remat of blocks.

  Kept are the output of each convolution, for its norm, and of each activation, for the next convolution; with remat
  the outputs of blocks and the inside of the largest.
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
  """Returns the value of `execution.remat` that computes the least again among those whose estimate fits.

  Args:
    net: Layer table of the network.
    precision: Precision of the activations.
    images: Images of a step on one device.
    memory: Bytes of one device that training may take.
  """
  for remat in ("none", "block"):
    if training_bytes(net, precision, remat, images) <= memory:
      return remat
  return "group"


def _units(layer: Layer) -> int:
  return layer.outputs * layer.side[0] * layer.side[1]
