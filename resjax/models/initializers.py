"""How the kernels of blocks start (`config.Model.initialization`)."""

from flax import linen as nn

from resjax import config
from resjax.models.conv import HE_NORMAL


def branch_kernel(net: config.Model, layer: int) -> nn.initializers.Initializer:
  """Returns the initializer of the kernel of a main branch's layer.

  With Fixup's shortcuts the last layer starts at zero, and the others have a variance of 2 / fan_out, divided by
  L^(1 / (m - 1)): L blocks of m layers.

  Args:
    net: Settings of the network.
    layer: 1-based position in the main branch.
  """
  layers, blocks = net.structure.layers_a_block, net.structure.total_blocks
  last = layer == layers
  if net.structure.fixup:
    scale = 2.0 * blocks ** (-1 / (layers - 1))
    return nn.initializers.zeros if last else nn.initializers.variance_scaling(scale, "fan_out", "normal")
  return _normal(2.0 / blocks) if last and net.initialization == "depth" else HE_NORMAL


def classifier_kernel(net: config.Model) -> nn.initializers.Initializer:
  """Returns the initializer of the kernel of the classifier, which is zero with Fixup's shortcuts."""
  return nn.initializers.zeros if net.structure.fixup else HE_NORMAL


def _normal(scale: float) -> nn.initializers.Initializer:
  """Returns the initializer of a normal distribution of variance scale / fan_in."""
  return nn.initializers.variance_scaling(scale, "fan_in", "normal")
