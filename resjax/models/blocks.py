"""Building blocks with or without a shortcut (Sec. 3.2, 4.1).

The main branch of a block, also called its residual branch, has two 3x3 layers (basic), 1x1, 3x3 and 1x1 layers
(bottleneck), one 3x3 layer (single), or two 1x1 layers (dense), which are fully connected layers on feature maps of one
pixel.
"""

import functools
from collections.abc import Callable

import jax
from flax import linen as nn

from resjax import config
from resjax.models import dropout, fixup, initializers, stochastic_depth
from resjax.models.activations import activation
from resjax.models.affine import Bias
from resjax.models.conv import Conv
from resjax.models.norm import BatchNorm
from resjax.models.response_statistics import sow_response
from resjax.models.shortcuts import SHORTCUTS, BlockSpec


class Block(nn.Module):
  """One block: y = relu(F(x) + shortcut(x)); plain: y = relu(F(x)); pre-activation: y = F(x) + shortcut(x).

  F(x) includes the factor L^-a of `config.Model.branch_scale`, and ReLU stands for any `config.Model.activation`.

  Attributes:
    filters: Output channels of the 3x3 layers. The output of a bottleneck block has four times as many channels.
    stride: Stride of the block, which is that of one of its layers, see `depth.Structure.strides`.
    net: Settings of the whole network.
  """

  filters: int
  stride: int
  net: config.Model

  @nn.compact
  def __call__(
    self,
    x_BxHxWxC: jax.Array,
    train: bool,
    modify_branch: Callable[[jax.Array], jax.Array] | None = None,
    survival: jax.Array | None = None,
  ) -> jax.Array:
    """Applies the block.

    Args:
      x_BxHxWxC: Input.
      train: Whether to normalize by the statistics of the batch and update the running statistics.
      modify_branch: Function that a study applies to F(x) before the shortcut is added.
      survival: Whether F(x) is kept, or its factor, see `stochastic_depth.apply_branch`. With dropout on the shortcut,
        data of the key of its mask, see `dropout.shortcut`.

    Returns:
      Output [B, H / stride, W / stride, output channels].
    """
    net, x, structure = self.net, x_BxHxWxC, self.net.structure
    layers = structure.layers(self.filters)
    sow_response(self, "input", x)
    # What precedes the first convolution is applied once for branch and shortcut if the shortcut has it, too: a
    # projection in a pre-activation block, and a shortcut that changes shapes in a Fixup network.
    changes = self.stride != 1 or x.shape[-1] != layers[-1][1]
    shared = structure.has_projection(self.stride, x.shape[-1], layers[-1][1]) or (structure.fixup and changes)
    branch_input = self._before_first_layer(x, train) if shared else x

    def branch(block: "Block", x: jax.Array) -> jax.Array:
      return block._layers(x if shared else block._before_first_layer(x, train), train)

    shape = (len(x), *(-(-side // self.stride) for side in x.shape[1:3]), layers[-1][1])
    y = stochastic_depth.apply_branch(self, branch, branch_input, shape, None if dropout.used(net) else survival)
    if net.branch_scale:
      y *= structure.total_blocks**-net.branch_scale
    sow_response(self, "branch", y)
    if modify_branch:
      y = modify_branch(y)

    if net.kind == "residual":
      norm = None if net.preactivation else functools.partial(normalization, net, train)
      block = BlockSpec(net, y.shape[-1], self.stride, layers[0][0], norm, survival)
      y = SHORTCUTS[net.shortcut](block, branch_input, y)
      if net.shortcut == "gated":
        return y  # a Highway block applies the activation to F(x) only
    return y if net.preactivation else activation(net)(y)

  def _before_first_layer(self, x: jax.Array, train: bool) -> jax.Array:
    """Returns the input of the first convolution, given the input of the block."""
    net = self.net
    if net.structure.fixup:
      return fixup.add_bias(x, "bias1a")
    return activation(net)(normalization(net, train, name="norm1")(x)) if net.preactivation else x

  def _layers(self, y: jax.Array, train: bool) -> jax.Array:
    """Returns F(x) without its factor L^-a, given the input of the first convolution."""
    net, structure = self.net, self.net.structure
    activate, layers = activation(net), structure.layers(self.filters)
    for i, ((kernel, channels), stride) in enumerate(zip(layers, structure.strides(self.stride), strict=True), 1):
      last = i == len(layers)
      norm = functools.partial(normalization, net, train, name=f"norm{i}", zero_scale=last and net.zero_init_scale)
      if net.preactivation and i > 1:
        y = activate(norm()(y))
      if structure.fixup and i > 1:
        y = fixup.add_bias(y, f"bias{i}a")
      start = initializers.branch_kernel(net, i)
      y = Conv(channels, kernel, stride, padding=net.padding, start=start, name=f"conv{i}")(y)
      if structure.fixup:
        y = fixup.after_convolution(y, i, last)
      elif not net.preactivation:
        y = norm()(y)
      if kernel == 3:
        sow_response(self, f"conv{i}", y)
      if not (last or net.preactivation):
        y = activate(y)
    return y


def normalization(net: config.Model, train: bool, *, name: str, zero_scale: bool = False) -> nn.Module:
  """Returns a norm with the network's settings, or a bias if the network has no normalization.

  Args:
    net: Settings of the network.
    train: Whether to normalize by the statistics of the batch and update the running statistics.
    name: Name of the module.
    zero_scale: Whether the scale starts at 0 instead of 1.
  """
  if net.norm == "none":
    return Bias(initializers.bias(net), name=name)
  if net.norm == "layer":
    start = nn.initializers.zeros if zero_scale else nn.initializers.ones
    return nn.LayerNorm(net.norm_epsilon, net.precision, scale_init=start, name=name)
  return BatchNorm(train, net.norm_momentum, net.norm_epsilon, net.norm_images, zero_scale, name=name)
