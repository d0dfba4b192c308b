"""Grouping of views of the same shape into batches, and averaging of their probabilities for each image."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from resjax.evaluation.ensemble import Ensemble
from resjax.evaluation.protocols import Protocol

Prediction = tuple[np.ndarray, int]  # probabilities of an image, float64 [classes], and its label


@dataclasses.dataclass
class _PendingImage:
  """An image that has views which are not evaluated yet.

  Attributes:
    label: Class of the image.
    views: Number of its views.
    remaining: Number of views that are not evaluated yet.
    total: Sum of the probabilities of the evaluated views, float64 [classes].
  """

  label: int
  views: int
  remaining: int
  total: np.ndarray


class ViewBatcher:
  """Evaluates images, given as views, in batches of views of the same shape; for use inside `jax.set_mesh`."""

  def __init__(self, ensemble: Ensemble, protocol: Protocol, batch_size: int):
    """Creates an empty batcher.

    Args:
      ensemble: Networks to evaluate.
      protocol: Test protocol.
      batch_size: Inputs per forward pass, if they have the networks' training size; fewer if they are larger.
    """
    self._ensemble, self._protocol = ensemble, protocol
    self._devices = jax.sharding.get_abstract_mesh().size
    self._pixels = batch_size * ensemble.size.side**2
    self._waiting: dict[tuple[int, ...], list[tuple[_PendingImage, np.ndarray]]] = {}

  def add(self, views: list[np.ndarray], label: int) -> Iterator[Prediction]:
    """Adds an image, and yields the probabilities of the images that are completed.

    Args:
      views: Views of the image, each uint8 [h, w, C].
      label: Class of the image.
    """
    image = _PendingImage(label, len(views), len(views), np.zeros(self._ensemble.classes))
    for view in views:
      waiting = self._waiting.setdefault(view.shape, [])
      waiting.append((image, view))
      if len(waiting) == self._batch_size(view.shape):
        yield from self._evaluate(self._waiting.pop(view.shape))

  def flush(self) -> Iterator[Prediction]:
    """Evaluates the remaining views, and yields the probabilities of their images."""
    while self._waiting:
      yield from self._evaluate(self._waiting.popitem()[1])

  def _batch_size(self, shape: tuple[int, ...]) -> int:
    """Returns the number of views of a shape per batch, a multiple of the number of devices."""
    pixels = self._protocol.crops * shape[0] * shape[1]
    return max(self._pixels // pixels // self._devices, 1) * self._devices

  def _evaluate(self, waiting: list[tuple[_PendingImage, np.ndarray]]) -> Iterator[Prediction]:
    count, size = len(waiting), self._devices
    while size < count:
      size *= 2
    size = min(size, self._batch_size(waiting[0][1].shape))
    views = np.stack([view for _, view in waiting] + [waiting[0][1]] * (size - count))
    for (image, _), own in zip(waiting, self._ensemble.probabilities(self._protocol, views)[:count], strict=True):
      image.total += own
      image.remaining -= 1
      if not image.remaining:
        yield image.total / image.views, image.label
