"""Batches of image files, decoded on demand by worker processes. Does not use JAX.

The image at each position of the stream is computed from the seed and the position. Grain therefore only calls a
function in several processes and keeps the order; its iterator state is not used, and a stream can start at any step.
"""

import contextlib
import dataclasses
import gc
import itertools
import multiprocessing
import os
import signal
import threading
import typing
from collections.abc import Callable, Generator, Sequence

import numpy as np

from resjax import host
from resjax.config import Data
from resjax.data.files import Encoded, Files, Unreadable
from resjax.data.image_decoder import crop, decode
from resjax.data.random_crops import crops, order

MOST_BROKEN = 1000  # consecutive unreadable images after which the stream fails: the cause is then not the images
PIECE = 32  # maximum number of images per piece
AHEAD = 1  # pieces that each worker prefetches, in addition to Grain's own prefetching
SMALL = 2**16  # bytes from which an array is passed in shared memory
T = typing.TypeVar("T")


class Batch(typing.NamedTuple):  # a tuple, because Grain passes the arrays of tuples in shared memory
  """One host's part of a batch.

  Attributes:
    images: Images, uint8 [B, S, S, 3].
    labels: Labels, int32 [B].
    counts: Whether each entry holds an image, bool [B]. Entries after the end of a test set and those of unreadable
      test images are empty.
    faults: Error message of each unreadable image.
  """

  images: np.ndarray
  labels: np.ndarray
  counts: np.ndarray
  faults: tuple[str, ...]

  @classmethod
  def concatenate(cls, parts: Sequence["Batch"]) -> "Batch":
    """Returns the concatenation of several batches, without repeated error messages."""
    images, labels, counts, faults = zip(*parts, strict=True)
    every = dict.fromkeys(fault for some in faults for fault in some)
    return cls(np.concatenate(images), np.concatenate(labels), np.concatenate(counts), tuple(every))


@dataclasses.dataclass(frozen=True)
class Share:
  """The part of every batch that one of several hosts reads.

  It is produced in pieces of at most `PIECE` images, so that all workers work on the same batch and few bytes are
  buffered.

  Attributes:
    batch_size: Images of a batch on all hosts.
    index: 0-based index of the host.
    count: Number of hosts, each of which reads an equal part.
  """

  batch_size: int
  index: int = 0
  count: int = 1

  @property
  def images(self) -> int:
    """Images per batch that this host reads."""
    return self.batch_size // self.count

  @property
  def piece(self) -> int:
    """Images per piece."""
    return max(size for size in range(1, min(self.images, PIECE) + 1) if self.images % size == 0)

  @property
  def pieces(self) -> int:
    """Pieces per batch that this host reads."""
    return self.images // self.piece

  def first(self, piece: int) -> int:
    """Returns the position in the stream of the first image of a piece; pieces are numbered across batches."""
    number, part = divmod(piece, self.pieces)
    return number * self.batch_size + self.index * self.images + part * self.piece


@dataclasses.dataclass(frozen=True)
class TrainPieces:
  """Endless stream of training images: random crops in random order, piece by piece.

  An unreadable image is replaced by the next readable one of the order, with the crop drawn for its position.

  Attributes:
    files: Training images.
    data: Settings of the data set.
    seed: Seed of order and crops.
    share: Part of each batch that this host reads.
  """

  files: Files
  data: Data
  seed: int
  share: Share

  def __call__(self, piece: int) -> Batch:
    """Returns a piece of the stream.

    Raises:
      Unreadable: `MOST_BROKEN` consecutive images are unreadable.
    """
    first, count, size = self.share.first(piece), self.share.piece, self.data.image_size
    drawn = crops(self.seed, first, count, self.data.resize, self.data.mirror)
    images, labels = np.empty((count, size, size, 3), np.uint8), np.empty(count, np.int32)
    faults: list[str] = []
    for i, side in enumerate(drawn.sides.tolist()):
      image, pixels = self._first_readable(first + i, side, faults)
      images[i] = crop(pixels, side, size, drawn.rows[i], drawn.columns[i], bool(drawn.mirrored[i]))
      labels[i] = image.label
    return Batch(images, labels, np.ones(count, bool), tuple(faults))

  def _first_readable(self, position: int, side: int, faults: list[str]) -> tuple[Encoded, np.ndarray]:
    """Returns the first readable image from a position on, and its pixels, uint8 [H, W, 3]."""
    for place in range(position, position + MOST_BROKEN):
      (index,) = order(self.seed, place, 1, len(self.files))
      try:
        image = self.files.read(int(index))
        return image, decode(image, side)
      except Unreadable as error:
        faults.append(str(error))
    raise Unreadable(f"{MOST_BROKEN} images in a row cannot be decoded; the last: {faults[-1]}")


@dataclasses.dataclass(frozen=True)
class TestPieces:
  """Center crops of all images of a set in order, piece by piece; entries without a readable image are empty.

  Attributes:
    files: Images of the set.
    data: Settings of the data set.
    share: Part of each batch that this host reads.
  """

  files: Files
  data: Data
  share: Share

  def __call__(self, piece: int) -> Batch:
    """Returns a piece of the set."""
    first, count, size, side = self.share.first(piece), self.share.piece, self.data.image_size, self.data.resize[0]
    images, labels = np.zeros((count, size, size, 3), np.uint8), np.zeros(count, np.int32)
    counts, faults = np.zeros(count, bool), []
    for i, index in enumerate(range(first, min(first + count, len(self.files)))):
      try:
        image = self.files.read(index)
        images[i] = crop(decode(image, side), side, size)
        labels[i], counts[i] = image.label, True
      except Unreadable as error:
        faults.append(str(error))
    return Batch(images, labels, counts, tuple(faults))

  @property
  def batches(self) -> int:
    """Number of batches that contain all images."""
    return -(-len(self.files) // self.share.batch_size)


def batches(make: TrainPieces | TestPieces, start: int, stop: int, workers: int) -> Generator[Batch, None, None]:
  """Yields this host's parts of the batches `start` to `stop` - 1.

  Args:
    make: Function that returns a piece.
    start: First batch; in training, the step.
    stop: Batch to stop before.
    workers: Number of worker processes; 0 to use this process.

  Raises:
    Unreadable: `MOST_BROKEN` consecutive images are unreadable.
  """
  pieces = make.share.pieces
  with contextlib.closing(in_order(make, start * pieces, stop * pieces, workers)) as made:
    for _ in range(start, stop):
      yield Batch.concatenate(list(itertools.islice(made, pieces)))


def in_order(make: Callable[[int], T], start: int, stop: int, workers: int) -> Generator[T, None, None]:
  """Yields make(start) to make(stop - 1) in order, computed by worker processes.

  Args:
    make: Function, sent to each process once; arrays in its result return in shared memory.
    start: First argument.
    stop: Argument to stop before.
    workers: Maximum number of worker processes; 0 to use this process.
  """
  workers = min(workers, stop - start)
  if workers == 0:
    yield from map(make, range(start, stop))
    return
  import grain
  from absl import flags

  if not flags.FLAGS.is_parsed():  # Grain reads absl's flags, which nothing has parsed in a notebook
    flags.FLAGS.mark_as_parsed()
  one_by_one = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=AHEAD)
  made = grain.MapDataset.range(start, stop).map(make).to_iter_dataset(one_by_one).mp_prefetch(options, _begin)
  iterator = iter(
    grain.experimental.WithOptionsIterDataset(made, grain.experimental.DatasetOptions(min_shm_size=SMALL))
  )
  try:
    yield from iterator
  finally:
    iterator.close()
    del iterator
    gc.collect()  # Grain's iterators are reference cycles that keep the last pieces, and so shared memory, alive


def _begin(*_: int) -> None:
  """Initializes a worker process: it ignores signals meant for its parent, and ends when its parent does."""
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
  parent = multiprocessing.parent_process()
  assert parent is not None

  def follow() -> None:
    with contextlib.suppress(Exception):
      parent.join()
    os._exit(0)

  threading.Thread(target=follow, daemon=True).start()


def worker_count(workers: int) -> int:
  """Returns the number of worker processes for `execution.workers`; a negative value means one per available core."""
  return host.cpu_cores() if workers < 0 else workers
