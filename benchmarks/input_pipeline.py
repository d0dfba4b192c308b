"""Images a second of the input pipeline, against Pillow in a process pool and a PyTorch DataLoader, on the same files.

    pip install torch
    python -m benchmarks.input_pipeline --path FOLDER [--workers 2] [--batch_size 128] [--rounds 5] [--out input.json]

FOLDER is an image folder as `data.name=folder` takes it. Every side yields batches of uint8 images, decoded, shorter
side drawn from [256, 480], 224 crop, mirrored by half; each has the same number of worker processes, which run on
through all rounds and start a round with nothing ready but what a worker makes ahead. Sides take turns; the table has
medians. The bound is what the same number of processes decode when they do nothing else, at full size.
"""

import functools
import itertools
import json
import multiprocessing
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
from absl import app, flags
from PIL import Image

from resjax.config import Data
from resjax.data import batch_stream, folder
from resjax.data.files import FolderFiles

_PATH = flags.DEFINE_string("path", None, "An image folder.", required=True)
_WORKERS = flags.DEFINE_integer("workers", len(os.sched_getaffinity(0)), "Worker processes of each side.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images a batch.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed runs of each side, in turn.")
_BATCHES = flags.DEFINE_integer("batches", 12, "Batches a timed run.")
_REST = flags.DEFINE_float("rest", 2.0, "Seconds after each, until its workers stand still.")
_OUT = flags.DEFINE_string("out", "", "JSON file to write.")

ENDLESS = 2**31
OURS = "resjax"


def pillow_image(path: Path, number: int, data: Data) -> np.ndarray:
  """Decode, resize, crop, mirror, as plainly as it can be written."""
  draw = random.Random(number)
  with Image.open(path) as opened:
    image = opened.convert("RGB")
  side = draw.randint(*data.resize)
  scale = side / min(image.size)
  image = image.resize(
    (max(round(image.width * scale), side), max(round(image.height * scale), side)), Image.Resampling.BILINEAR
  )
  left, top = draw.randint(0, image.width - data.image_size), draw.randint(0, image.height - data.image_size)
  image = image.crop((left, top, left + data.image_size, top + data.image_size))
  return np.asarray(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if draw.random() < 0.5 else image)


def pillow_piece(files: FolderFiles, data: Data, size: int, piece: int) -> np.ndarray:
  """Returns `size` images by Pillow."""
  places = range(piece * size, (piece + 1) * size)
  return np.stack([pillow_image(files.root / files.names[place % len(files)], place, data) for place in places])


def decoded_piece(files: FolderFiles, size: int, piece: int) -> int:
  """Decodes `size` images at full size and returns nothing of them but the number of pixels."""
  names = [files.names[place % len(files)] for place in range(piece * size, (piece + 1) * size)]
  return sum(simplejpeg.decode_jpeg((files.root / name).read_bytes()).size for name in names)


def pooled(pool: ProcessPoolExecutor, make: Callable[[int], object], pieces: int) -> Iterator[list]:
  """Yields lists of `pieces` results in order, each worker two pieces ahead."""
  ahead = 2 * _WORKERS.value
  numbers = itertools.count()
  waiting = [pool.submit(make, next(numbers)) for _ in range(ahead)]
  while True:
    batch = []
    for _ in range(pieces):
      batch.append(waiting.pop(0).result())
      waiting.append(pool.submit(make, next(numbers)))
    yield batch


def pillow_side(files: FolderFiles, data: Data, pool: ProcessPoolExecutor) -> Iterator[int]:
  """Plain Pillow in a pool of processes."""
  share = batch_stream.Share(_BATCH.value)
  make = functools.partial(pillow_piece, files, data, share.piece)
  for pieces in pooled(pool, make, share.pieces):
    yield len(np.concatenate(pieces))


def bound_side(files: FolderFiles, data: Data, pool: ProcessPoolExecutor) -> Iterator[int]:
  """Decoding alone."""
  share = batch_stream.Share(_BATCH.value)
  for _ in pooled(pool, functools.partial(decoded_piece, files, share.piece), share.pieces):
    yield _BATCH.value


class TorchImages:
  """The same by Pillow, which torchvision's transforms of such images call, too."""

  def __init__(self, files: FolderFiles, data: Data):
    self.files, self.data = files, data

  def __len__(self) -> int:
    return ENDLESS

  def __getitem__(self, place: int):
    import torch

    index = place % len(self.files)
    image = pillow_image(self.files.root / self.files.names[index], place, self.data)
    return torch.from_numpy(image.transpose(2, 0, 1).copy()), int(self.files.labels[index])


def torch_side(files: FolderFiles, data: Data) -> Iterator[int]:
  """A DataLoader as it comes: each worker makes whole batches, and is two ahead."""
  import torch

  sampler = torch.utils.data.SequentialSampler(range(ENDLESS))
  loader = torch.utils.data.DataLoader(
    TorchImages(files, data),
    batch_size=_BATCH.value,
    sampler=sampler,
    num_workers=_WORKERS.value,
    multiprocessing_context="spawn",
  )
  for images, _ in loader:
    yield len(images)


def our_side(files: FolderFiles, data: Data) -> Iterator[int]:
  """The pipeline of a run."""
  make = batch_stream.TrainPieces(files, data, 0, batch_stream.Share(_BATCH.value))
  for batch in batch_stream.batches(make, 0, ENDLESS // _BATCH.value, _WORKERS.value):
    yield len(batch.images)


def measure(running: dict[str, Iterator[int]]) -> dict[str, list[float]]:
  """Returns images a second of every side, one figure a round.

  A side fills its buffers while it is not its turn, and then stands still; what it has ready goes by unmeasured.
  """
  ready = 2 * _WORKERS.value  # batches, what a DataLoader keeps; the others keep fewer
  rates: dict[str, list[float]] = {name: [] for name in running}
  for _ in range(_ROUNDS.value):
    for name, batches in running.items():
      for _ in range(ready):
        next(batches)
      start, images = time.perf_counter(), 0
      for _ in range(_BATCHES.value):
        images += next(batches)
      rates[name].append(images / (time.perf_counter() - start))
      time.sleep(_REST.value)
  return rates


def table(rates: dict[str, list[float]]) -> str:
  """Returns a line a side: median, range, median a worker, and how many times faster ours is."""
  medians = {name: statistics.median(values) for name, values in rates.items()}
  return "\n".join(
    f"{name:34} {median:7.0f} images/s ({min(rates[name]):.0f} to {max(rates[name]):.0f})  "
    f"a worker {median / _WORKERS.value:6.0f}  {OURS} over it {medians[OURS] / median:.2f}"
    for name, median in medians.items()
  )


def main(_) -> None:
  data = Data(name="folder", path=_PATH.value)
  files, _, _ = folder.find(data)
  pool = functools.partial(ProcessPoolExecutor, _WORKERS.value, multiprocessing.get_context("spawn"))
  with pool() as pillow, pool() as bound:
    running = {
      OURS: our_side(files, data),
      "Pillow, process pool": pillow_side(files, data, pillow),
      "PyTorch DataLoader": torch_side(files, data),
      "decoding alone, the bound": bound_side(files, data, bound),
    }
    rates = measure(running)
    running.clear()  # ends their processes
  print(f"{len(files)} files, {_WORKERS.value} workers, batches of {_BATCH.value}")
  print(table(rates))
  if _OUT.value:
    found = {"files": len(files), "workers": _WORKERS.value, "batch_size": _BATCH.value, "images_per_second": rates}
    Path(_OUT.value).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
  app.run(main)
