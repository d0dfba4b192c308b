"""Building blocks, with a shortcut or plain (Sec. 3.2, 4.1): two 3x3 layers, or 1x1, 3x3 and 1x1, or a single layer.

On maps of one pixel two 1x1 layers are fully connected ones.
"""

import functools
from collections.abc import Callable

import jax
from flax import linen as nn

from resjax import config
from resjax.models.affine import Bias
from resjax.models.conv import Conv
from resjax.models.norm import BatchNorm
from resjax.models.response_statistics import sow_response
from resjax.models.shortcuts import SHORTCUTS, Branch, branch_start

ACTIVATIONS = {"relu": nn.relu, "sigmoid": nn.sigmoid}


class Block(nn.Module):
  """One block: y = relu(F(x) + shortcut(x)); plain: y = relu(F(x)); pre-activation: y = F(x) + shortcut(x).

  In place of ReLU the net may have another activation.

  Attributes:
    filters: of its 3x3 layers; a bottleneck's output has four times as many channels.
    stride: of one of its layers, see `depth.Structure.strides`.
    net: the settings of the whole net.
  """

  filters: int
  stride: int
  net: config.Model

  @nn.compact
  def __call__(
    self, x_BxHxWxC: jax.Array, train: bool, disturb: Callable[[jax.Array], jax.Array] | None = None
  ) -> jax.Array:
    """Returns [B, H / stride, W / stride, output channels].

    Args:
      x_BxHxWxC: input.
      train: whether to use and update batch statistics.
      disturb: what a study does to F(x) before the shortcut is added.
    """
    net, x = self.net, x_BxHxWxC
    activation = ACTIVATIONS[net.activation]
    conv = functools.partial(Conv, padding=net.padding)
    norm = functools.partial(normalization, net, train)
    structure = net.structure
    layers = structure.layers(self.filters)
    sow_response(self, "input", x)

    y = activated = activation(norm(name="norm1")(x)) if net.preactivation else x
    for i, ((kernel, channels), stride) in enumerate(zip(layers, structure.strides(self.stride), strict=True), 1):
      last = i == len(layers)
      if net.preactivation and i > 1:
        y = activation(norm(name=f"norm{i}", zero_scale=last and net.zero_init_scale)(y))
      y = conv(channels, kernel, stride, start=branch_start(structure, i), name=f"conv{i}")(y)
      if not net.preactivation:
        y = norm(name=f"norm{i}", zero_scale=last and net.zero_init_scale)(y)
      if kernel == 3:
        sow_response(self, f"conv{i}", y)
      if not (last or net.preactivation):
        y = activation(y)
    sow_response(self, "branch", y)
    if disturb:
      y = disturb(y)

    if net.kind == "residual":
      branch = Branch(
        y.shape[-1],
        self.stride,
        layers[0][0],
        net.option_a_stride,
        net.option_a_zeros,
        conv,
        None if net.preactivation else norm,
      )
      projects = structure.projects(self.stride, x.shape[-1], y.shape[-1])
      y = SHORTCUTS[net.shortcut](branch, activated if projects else x, y)
    return y if net.preactivation else activation(y)


def normalization(net: config.Model, train: bool, *, name: str, zero_scale: bool = False) -> nn.Module:
  """Returns a batch norm with the net's settings, or in a net without norms what stands in its place, a bias."""
  if net.norm == "none":
    return Bias(name=name)
  return BatchNorm(train, net.norm_momentum, net.norm_epsilon, net.norm_images, zero_scale, name=name)
