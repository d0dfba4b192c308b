"""Ensembles of trained networks, whose probabilities are averaged (Sec. 4.1)."""

import functools
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
    size: Size of the networks' input.
    channels: Channels of the networks' input.
    classes: Number of classes.
  """

  def __init__(self, nets: Sequence[RestoredRun]):
    """Copies the networks to the devices.

    Raises:
      ConfigError: The networks differ in their input or their number of classes.
    """
    first = nets[0]
    self.size, self.channels, self.classes = size_of(first), first.input.image_shape[-1], first.classes
    for other in nets[1:]:
      for what, one, another in (
        ("images", self.size, size_of(other)),
        ("channels", self.channels, other.input.image_shape[-1]),
        ("classes", self.classes, other.classes),
      ):
        if one != another:
          raise ConfigError(
            f"not an ensemble: {what} of {other.directory} are {another}, must be {one} as of {first.directory}"
          )
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
  table = net.config.model.net(net.input.image_shape, net.classes).table
  last = [layer for layer in table if layer.kind == "conv"][-1]
  return Size(side=height, shorter=shorter, pad=data.pad, stride=height // last.size[0])


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
