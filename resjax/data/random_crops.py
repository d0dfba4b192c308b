"""What is drawn for a stream of image files: which image, which crop. Arithmetic on (seed, position), without JAX.

A run reads one endless stream; its step s has the positions s * batch_size to (s + 1) * batch_size - 1. What stands
at a position depends on the seed and the position alone, so it is the same however many processes and hosts share the
work and wherever a run goes on. Only raw output of numpy's Philox is used, which numpy keeps the same for ever.
"""

import dataclasses
import functools

import numpy as np

ORDER, CROPS = 0, 1  # streams of their own
NUMBERS = 4  # that one block of Philox has, and one image needs


@dataclasses.dataclass(frozen=True)
class Crops:
  """How each of a row of images is cropped.

  Attributes:
    sides: int64 [N], pixels of the shorter side of the resized image.
    rows, columns: float64 [N], where the crop is, as a share (0 to 1, without 1) of the places there are.
    mirrored: bool [N].
  """

  sides: np.ndarray
  rows: np.ndarray
  columns: np.ndarray
  mirrored: np.ndarray


def crops(seed: int, first: int, count: int, resize: tuple[int, ...], mirror: bool) -> Crops:
  """Returns the crops of the positions `first` to `first` + `count` - 1 (Sec. 3.4).

  Args:
    seed: of the run.
    first, count: which positions.
    resize: lowest and highest shorter side, each as likely as those between.
    mirror: whether half of the images, on average, are mirrored; else none is.
  """
  blocks = np.random.Philox(key=(seed, CROPS), counter=first).random_raw(NUMBERS * count).reshape(count, NUMBERS)
  sides, rows, columns, mirrored = (blocks >> np.uint64(11)).T / 2**53  # as floats have 53 bits
  low, high = resize
  return Crops(low + (sides * (high - low + 1)).astype(np.int64), rows, columns, (mirrored < 0.5) & mirror)


def order(seed: int, first: int, count: int, images: int) -> np.ndarray:
  """Returns the images at the positions `first` to `first` + `count` - 1, int64 [count].

  The stream is epoch after epoch, each a random permutation of its own of all images.
  """
  positions = np.arange(first, first + count)
  epochs = positions // images
  found = np.empty(count, np.int64)
  for epoch in np.unique(epochs):
    here = epochs == epoch
    found[here] = _permutation(seed, int(epoch), images)[positions[here] % images]
  return found


@functools.lru_cache(maxsize=2)
def _permutation(seed: int, epoch: int, images: int) -> np.ndarray:
  raw = np.random.Philox(key=(seed, ORDER), counter=(0, epoch, 0, 0)).random_raw(images)
  return np.argsort(raw, kind="stable")
