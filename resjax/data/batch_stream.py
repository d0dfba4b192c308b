"""Batches of image files, decoded by worker processes as they are needed. Nothing here knows JAX.

What stands where in a stream is arithmetic, so Grain has only to call a function in several processes and to keep the
order. Its own iterator state is not used: a stream begins at any step.
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

from resjax.config import Data
from resjax.data.files import Encoded, Files, Unreadable
from resjax.data.image_decoder import crop, decode
from resjax.data.random_crops import crops, order

MOST_BROKEN = 1000  # in a row; then it is not the images
PIECE = 32  # images
AHEAD = 1  # pieces that each worker keeps ready, beside those that Grain does
SMALL = 2**16  # bytes; smaller arrays are not worth shared memory
T = typing.TypeVar("T")


class Batch(typing.NamedTuple):  # whose arrays Grain hands over in shared memory
  """A host's part of a batch.

  Attributes:
    images: uint8 [B, S, S, 3].
    labels: int32 [B].
    counts: bool [B], whether it is an image: at the end of a set, or where one is broken, a place may stay empty.
    faults: what is wrong with each broken image that was met.
  """

  images: np.ndarray
  labels: np.ndarray
  counts: np.ndarray
  faults: tuple[str, ...]

  @classmethod
  def joined(cls, parts: Sequence["Batch"]) -> "Batch":
    """Returns the images of several in a row."""
    images, labels, counts, faults = zip(*parts, strict=True)
    every = dict.fromkeys(fault for some in faults for fault in some)
    return cls(np.concatenate(images), np.concatenate(labels), np.concatenate(counts), tuple(every))


@dataclasses.dataclass(frozen=True)
class Share:
  """The part of every batch that one of several hosts reads: the `index`-th of `count` equal ones.

  It is made in pieces of at most `PIECE` images, so that all workers are at the same batch, and few bytes wait.
  """

  batch_size: int
  index: int = 0
  count: int = 1

  @property
  def images(self) -> int:
    """Images of a batch that are this host's."""
    return self.batch_size // self.count

  @property
  def piece(self) -> int:
    """Images of a piece."""
    return max(size for size in range(1, min(self.images, PIECE) + 1) if self.images % size == 0)

  @property
  def pieces(self) -> int:
    """Pieces of the host's part of a batch."""
    return self.images // self.piece

  def first(self, piece: int) -> int:
    """Returns the position in the stream of the first image of a piece, which are numbered through all batches."""
    number, part = divmod(piece, self.pieces)
    return number * self.batch_size + self.index * self.images + part * self.piece


@dataclasses.dataclass(frozen=True)
class TrainPieces:
  """Training images: random crops of images in random order, without an end.

  A broken image is replaced by the next sound one in the order, which keeps the place's crop.
  """

  files: Files
  data: Data
  seed: int
  share: Share

  def __call__(self, piece: int) -> Batch:
    """Returns a piece.

    Raises:
      Unreadable: too many images in a row are broken.
    """
    first, count, size = self.share.first(piece), self.share.piece, self.data.image_size
    drawn = crops(self.seed, first, count, self.data.resize, self.data.mirror)
    images, labels = np.empty((count, size, size, 3), np.uint8), np.empty(count, np.int32)
    faults: list[str] = []
    for i, side in enumerate(drawn.sides.tolist()):
      image, pixels = self._sound(first + i, side, faults)
      images[i] = crop(pixels, side, size, drawn.rows[i], drawn.columns[i], bool(drawn.mirrored[i]))
      labels[i] = image.label
    return Batch(images, labels, np.ones(count, bool), tuple(faults))

  def _sound(self, position: int, side: int, faults: list[str]) -> tuple[Encoded, np.ndarray]:
    """Returns the first sound image from a position on, and its pixels."""
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
  """All images of a set in order, the centre of each; places after the last one, and of broken ones, stay empty."""

  files: Files
  data: Data
  share: Share

  def __call__(self, piece: int) -> Batch:
    """Returns a piece."""
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
    """How many batches have all images."""
    return -(-len(self.files) // self.share.batch_size)


def batches(make: TrainPieces | TestPieces, start: int, stop: int, workers: int) -> Generator[Batch, None, None]:
  """Yields the host's parts of the batches `start` to `stop` - 1.

  Args:
    make: what makes a piece.
    start, stop: numbers of batches; of training, steps.
    workers: how many processes make them; 0: this one.

  Raises:
    Unreadable: too many images in a row are broken.
  """
  pieces = make.share.pieces
  with contextlib.closing(in_order(make, start * pieces, stop * pieces, workers)) as made:
    for _ in range(start, stop):
      yield Batch.joined(list(itertools.islice(made, pieces)))


def in_order(make: Callable[[int], T], start: int, stop: int, workers: int) -> Generator[T, None, None]:
  """Yields make(start) to make(stop - 1), made by `workers` processes, or with 0 by this one.

  Args:
    make: is sent to the processes once; what it returns comes back in shared memory where it is an array.
    start, stop: numbers.
    workers: at most.
  """
  workers = min(workers, stop - start)
  if workers == 0:
    yield from map(make, range(start, stop))
    return
  import grain
  from absl import flags

  if not flags.FLAGS.is_parsed():  # Grain asks them, also where nothing has parsed a command line: in a notebook
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
    gc.collect()  # Grain's iterators are cycles that hold the last pieces, and with them shared memory


def _begin(*_: int) -> None:
  """Prepares a worker process: it ends when its parent does, not by a signal that is meant for the parent."""
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
  """Returns how many worker processes `execution.workers` means here."""
  return len(os.sched_getaffinity(0)) if workers < 0 else workers
