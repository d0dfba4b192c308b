"""Ensembles of trained networks, whose probabilities are averaged (Sec. 4.1)."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from resjax import mesh, models
from resjax.data.augment import Statistics
from resjax.evaluation.protocols import Protocol, Size
from resjax.settings import ConfigError
from resjax.train.run_files import RestoredRun


class Ensemble:
  """One or more trained networks whose probabilities are averaged; for use inside `jax.set_mesh`.

  Attributes:
    size: Size of the networks' input, as far as the test protocol uses it.
    channels: Channels of the networks' input.
    classes: Number of classes.
  """

  def __init__(self, nets: Sequence[RestoredRun], protocol: Protocol):
    """Copies the networks to the devices.

    Args:
      nets: Networks of the ensemble.
      protocol: Test protocol.

    Raises:
      ConfigError: A network cannot be tested by the protocol, or the networks differ in their classes or in what the
        protocol uses of their input.
    """
    self.size = _common_size(nets, protocol)
    self.channels = _common_value("number of channels", nets, [net.input.image_shape[-1] for net in nets])
    self.classes = _common_value("number of classes", nets, [net.classes for net in nets])
    everywhere = mesh.replicated(jax.sharding.get_mesh())
    self._nets = [
      (
        models.build(net.config.model, net.classes),
        jax.device_put((net.variables, net.input.statistics), everywhere),
      )
      for net in nets
    ]

  def probabilities(self, protocol: Protocol, views: np.ndarray) -> np.ndarray:
    """Returns the mean probabilities of the networks.

    Args:
      protocol: Test protocol.
      views: Views of the same shape, uint8 [B, h, w, C].

    Returns:
      Probabilities, float64 [B, classes].
    """
    each = [_probabilities(net, protocol, self.size, *arrays, views) for net, arrays in self._nets]
    return np.mean([np.asarray(member, np.float64) for member in each], axis=0)


def _common_size(nets: Sequence[RestoredRun], protocol: Protocol) -> Size:
  """Returns the size of the input of all networks; values that the protocol does not use are those of the first."""
  for net in nets:
    if "stride" in protocol.uses and net.config.model.structure.has_fixed_input_size:
      raise ConfigError(
        f"{net.directory}: a network with dense layers takes images of one size only; use --protocol single or 10crop"
      )
  sizes = [size_of(net) for net in nets]
  _common_value("size of the input", nets, [size.side for size in sizes])
  if "shorter" in protocol.uses:
    _common_value("shorter side of the resized images", nets, [size.shorter for size in sizes])
  if "pad" in protocol.uses and sizes[0].shorter == sizes[0].side:
    _common_value("data.pad", nets, [size.pad for size in sizes])
  return dataclasses.replace(sizes[0], stride=math.lcm(*(size.stride for size in sizes)))


def _common_value(name: str, nets: Sequence[RestoredRun], values: Sequence[int]) -> int:
  """Returns the value that all networks have.

  Raises:
    ConfigError: Two networks differ in it.
  """
  for net, value in zip(nets, values, strict=True):
    if value != values[0]:
      raise ConfigError(
        f"not an ensemble: {name} of {net.directory} is {value}, must be {values[0]} as that of {nets[0].directory}"
      )
  return values[0]


def size_of(net: RestoredRun) -> Size:
  """Returns the size of a network's input.

  Raises:
    ConfigError: The input is not square.
  """
  height, width, _ = net.input.image_shape
  if height != width:
    raise ConfigError(f"{net.directory}: takes images of {height}x{width} pixels; evaluation needs square images")
  data = net.config.data
  shorter = data.resize[0] if data.is_streamed else height
  stride = net.config.model.net(net.input.image_shape, net.classes).stride
  return Size(side=height, shorter=shorter, pad=data.pad, stride=stride)


@functools.partial(jax.jit, static_argnames=("net", "protocol", "size"))
def _probabilities(
  net: nn.Module, protocol: Protocol, size: Size, variables: Any, statistics: Statistics, views: jax.Array
) -> jax.Array:
  """Returns the probabilities of each view, the mean over its inputs, float32 [B, classes]."""
  inputs = protocol.inputs(mesh.shard_batch(views), statistics, size)
  crops, batch, *shape = inputs.shape
  # The inputs of a view are adjacent, so that they are on the same device as the view.
  inputs_of_views = mesh.shard_batch(inputs.swapaxes(0, 1).reshape(batch * crops, *shape))
  logits = net.apply(variables, inputs_of_views, train=False)
  return jax.nn.softmax(logits).reshape(batch, crops, -1).mean(1)
