"""Memory of training where there is no compiler to ask: an estimate from the layer table."""

from resjax.config import Config
from resjax.depth import Layer, Net
from resjax.planning.roofline import WIDTH


def training_bytes(config: Config, net: Net, devices: int) -> int:
  """Returns what training keeps on a device: activations for the backward pass; weights, momentum and gradient."""
  none, block = activation_bytes(config, net)
  kept = none if config.execution.remat == "none" else block
  return kept * config.train.batch_size // devices + 3 * 4 * net.params


def activation_bytes(config: Config, net: Net) -> tuple[int, int]:
  """Returns what the backward pass of one image needs: all of it, or with remat of blocks.

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
  outside, size = sum(units for (_, number), units in inside.items() if not number), WIDTH[config.model.precision]
  return size * (outside + sum(blocks)), size * (outside + sum(ends.values()) + max(blocks))


def _units(layer: Layer) -> int:
  return layer.outputs * layer.side[0] * layer.side[1]
