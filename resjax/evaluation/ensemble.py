"""The nets of an ensemble on the devices, and the probabilities they give (Sec. 4.1)."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from resjax import mesh, models
from resjax.data.augment import Statistics
from resjax.data.sources import is_streamed
from resjax.evaluation.protocols import Protocol, Size
from resjax.settings import ConfigError
from resjax.train.run_files import RestoredRun


class Ensemble:
  """RestoredRun nets that answer together: the mean of their probabilities. Inside `jax.set_mesh`.

  Attributes:
    size, channels, classes: of all of them.
  """

  def __init__(self, nets: Sequence[RestoredRun]):
    """Puts the nets on the devices.

    Raises:
      ConfigError: they do not take the same images, or have other numbers of classes.
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
          raise ConfigError(f"no ensemble: {other.directory} has {what} {another}, {first.directory} {one}")
    everywhere = mesh.replicated(jax.sharding.get_mesh())
    self._nets = [
      (
        models.build(net.config.model, net.classes),
        jax.device_put((net.variables, net.input.statistics), everywhere),
      )
      for net in nets
    ]

  def probabilities(self, protocol: Protocol, views: np.ndarray) -> np.ndarray:
    """Returns float64 [B, classes] of views of one shape, uint8 [B, h, w, C]."""
    each = [_probabilities(net, protocol, self.size, *arrays, views) for net, arrays in self._nets]
    return np.mean([np.asarray(member, np.float64) for member in each], axis=0)


def size_of(net: RestoredRun) -> Size:
  """Returns what of a net matters to its images.

  Raises:
    ConfigError: it takes images that are not square.
  """
  height, width, _ = net.input.image_shape
  if height != width:
    raise ConfigError(f"{net.directory}: takes images of {height}x{width} pixels; only square ones are evaluated")
  data = net.config.data
  shorter = data.resize[0] if is_streamed(data) else height
  table = net.config.model.net(net.input.image_shape, net.classes).table
  last = [layer for layer in table if layer.kind == "conv"][-1]
  return Size(side=height, shorter=shorter, pad=data.pad, stride=height // last.side[0])


@functools.partial(jax.jit, static_argnames=("net", "protocol", "size"))
def _probabilities(
  net: nn.Module, protocol: Protocol, size: Size, variables: Any, statistics: Statistics, views: jax.Array
) -> jax.Array:
  """Returns float32 [B, classes], the mean over the inputs of each view."""
  inputs = protocol.inputs(mesh.shard_batch(views), statistics, size)
  crops, batch, *shape = inputs.shape
  # A view's inputs stay together, so that they stay on its device.
  together = mesh.shard_batch(inputs.swapaxes(0, 1).reshape(batch * crops, *shape))
  logits = net.apply(variables, together, train=False)
  return jax.nn.softmax(logits).reshape(batch, crops, -1).mean(1)
