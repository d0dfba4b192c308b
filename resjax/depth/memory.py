"""Estimate of the memory that training needs from the layer table, without compiling."""

from resjax.depth.layer import Layer
from resjax.depth.net import Net

ACTIVATION_BYTES = {"float32": 4, "bfloat16": 2}  # of one activation, by precision
# Maximum fraction of the memory that JAX may use on a device for the estimate and the images that the device holds.
# Workspaces of convolutions and fragmentation need the rest.
ESTIMATE_FRACTION = 0.7


def training_bytes(net: Net, precision: str, remat: str, images: int, runs: int = 1) -> int:
  """Estimates the bytes of the activations for the backward pass, the parameters, the momentum and the gradient.

  Args:
    net: Layer table of the network.
    precision: Precision of the activations, a key of `ACTIVATION_BYTES`.
    remat: A value of `execution.remat` other than "auto". For "group" the estimate of "block" is returned, an upper
      bound.
    images: Number of images per step and run on one device.
    runs: Number of runs that are trained in one program.
  """
  none, block = activation_bytes(net, precision)
  return runs * ((block if remat in ("block", "group") else none) * images + 3 * 4 * net.params)


def activation_bytes(net: Net, precision: str) -> tuple[int, int]:
  """Estimates the bytes of activations that the backward pass of one image needs.

  Without remat, the output of each convolution is kept for its norm, and that of each activation function for the next
  convolution. With remat="block", the outputs of all blocks and the activations inside the largest block are kept.

  Args:
    net: Layer table of the network.
    precision: Precision of the activations, a key of `ACTIVATION_BYTES`.

  Returns:
    The bytes without remat, and those with remat="block".
  """
  kept = [layer for layer in net.table if layer.kind != "scalar" and not layer.name.endswith("projection_norm")]
  inside: dict[tuple[int, int], int] = {}
  for layer in kept:
    place = layer.stage, layer.block
    inside[place] = inside.get(place, 0) + _activations(layer)
  ends = {(layer.stage, layer.block): _activations(layer) for layer in kept if layer.block}
  blocks = [activations for (_, number), activations in inside.items() if number]
  outside, size = (
    sum(activations for (_, number), activations in inside.items() if not number),
    ACTIVATION_BYTES[precision],
  )
  return size * (outside + sum(blocks)), size * (outside + sum(ends.values()) + max(blocks))


def choose_remat(net: Net, precision: str, images: int, runs: int, memory: float) -> str:
  """Returns the value of `execution.remat` that recomputes the least among those whose estimate fits into the memory.

  Args:
    net: Layer table of the network.
    precision: Precision of the activations, a key of `ACTIVATION_BYTES`.
    images: Number of images per step and run on one device.
    runs: Number of runs that are trained in one program.
    memory: Bytes of memory that training may use on one device.
  """
  for remat in ("none", "block"):
    if training_bytes(net, precision, remat, images, runs) <= memory:
      return remat
  return "group"


def _activations(layer: Layer) -> int:
  return layer.outputs * layer.size[0] * layer.size[1]
