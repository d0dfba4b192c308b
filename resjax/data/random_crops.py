"""Random order and random crops of a stream of image files, pure functions of (seed, position). Does not use JAX.

A run reads one endless stream, in which step s has the positions s * batch_size to (s + 1) * batch_size - 1. Image and
crop depend on seed and position only, so the stream does not depend on the numbers of processes and hosts or on the
step at which a run resumes. Only the raw output of numpy's Philox is used, which numpy guarantees never to change.
"""

import dataclasses
import functools

import numpy as np

ORDER, CROPS = 0, 1  # second word of the Philox key, which separates the two streams
NUMBERS = 4  # random numbers per block of Philox, as many as one image needs


@dataclasses.dataclass(frozen=True)
class Crops:
  """Random crops of N consecutive images.

  Attributes:
    sides: Shorter side of the resized image in pixels, int64 [N].
    rows: Vertical position of the crop as a fraction, in [0, 1), of all possible positions, float64 [N].
    columns: Horizontal position of the crop, likewise.
    mirrored: Whether the crop is mirrored, bool [N].
  """

  sides: np.ndarray
  rows: np.ndarray
  columns: np.ndarray
  mirrored: np.ndarray


def crops(seed: int, first: int, count: int, resize: tuple[int, ...], mirror: bool) -> Crops:
  """Returns the crops of the positions `first` to `first` + `count` - 1 (Sec. 3.4).

  Args:
    seed: Seed of the run.
    first: First position.
    count: Number of positions.
    resize: Smallest and largest shorter side of the resized image in pixels; drawn uniformly, both included.
    mirror: Whether each image is mirrored with probability 1/2; otherwise none is.
  """
  blocks = np.random.Philox(key=(seed, CROPS), counter=first).random_raw(NUMBERS * count).reshape(count, NUMBERS)
  sides, rows, columns, mirrored = (blocks >> np.uint64(11)).T / 2**53  # the 53 bits of a float64, in [0, 1)
  low, high = resize
  return Crops(low + (sides * (high - low + 1)).astype(np.int64), rows, columns, (mirrored < 0.5) & mirror)


def order(seed: int, first: int, count: int, images: int) -> np.ndarray:
  """Returns the indices of the images at the positions `first` to `first` + `count` - 1, int64 [count].

  Each epoch of the stream is a separate random permutation of all images.

  Args:
    seed: Seed of the run.
    first: First position.
    count: Number of positions.
    images: Number of training images.
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
