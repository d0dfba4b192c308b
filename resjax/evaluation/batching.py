"""Views of one shape, gathered to batches; probabilities, gathered to images."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from resjax.evaluation.ensemble import Ensemble
from resjax.evaluation.protocols import Protocol

Answer = tuple[np.ndarray, int]  # probabilities, float64 [classes], and the label


@dataclasses.dataclass
class _Open:
  """An image some of whose views are still to be tested."""

  label: int
  views: int
  left: int
  total: np.ndarray


class ViewBatcher:
  """Takes images as views, and gives their probabilities when all views of an image are done. In `jax.set_mesh`."""

  def __init__(self, ensemble: Ensemble, protocol: Protocol, batch_size: int):
    """Takes nothing yet.

    Args:
      ensemble: the nets.
      protocol: what they are shown.
      batch_size: inputs of the nets' own size a forward pass; of larger ones fewer.
    """
    self._ensemble, self._protocol = ensemble, protocol
    self._devices = jax.sharding.get_abstract_mesh().size
    self._pixels = batch_size * ensemble.size.side**2
    self._waiting: dict[tuple[int, ...], list[tuple[_Open, np.ndarray]]] = {}

  def put(self, views: list[np.ndarray], label: int) -> Iterator[Answer]:
    """Takes the views of an image, uint8 [h, w, C], and yields what is done by now."""
    image = _Open(label, len(views), len(views), np.zeros(self._ensemble.classes))
    for view in views:
      waiting = self._waiting.setdefault(view.shape, [])
      waiting.append((image, view))
      if len(waiting) == self._batch(view.shape):
        yield from self._test(self._waiting.pop(view.shape))

  def rest(self) -> Iterator[Answer]:
    """Yields what is left."""
    while self._waiting:
      yield from self._test(self._waiting.popitem()[1])

  def _batch(self, shape: tuple[int, ...]) -> int:
    """Returns how many views of a shape are tested at once, a multiple of the devices."""
    pixels = self._protocol.crops * shape[0] * shape[1]
    return max(self._pixels // pixels // self._devices, 1) * self._devices

  def _test(self, waiting: list[tuple[_Open, np.ndarray]]) -> Iterator[Answer]:
    count, size = len(waiting), self._devices
    while size < count:
      size *= 2
    size = min(size, self._batch(waiting[0][1].shape))
    views = np.stack([view for _, view in waiting] + [waiting[0][1]] * (size - count))
    for (image, _), own in zip(waiting, self._ensemble.probabilities(self._protocol, views)[:count], strict=True):
      image.total += own
      image.left -= 1
      if not image.left:
        yield image.total / image.views, image.label
