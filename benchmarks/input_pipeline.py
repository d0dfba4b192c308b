"""Throughput of the input pipeline, compared with Pillow in a process pool and a PyTorch DataLoader on the same files.

    pip install torch
    python -m benchmarks.input_pipeline --path FOLDER [--workers 2] [--batch_size 128] [--rounds 5] [--out input.json]

FOLDER is an image folder in the form of `data.name=folder`. Every pipeline yields minibatches of uint8 images: decoded,
resized to a random shorter side in [256, 480], cropped to 224, flipped with probability 1/2. All pipelines have the
same number of worker processes, which live through all rounds; a round starts with only the prefetched minibatches. The
timed runs alternate, and the table has medians. The upper bound is the rate at which the same number of processes
decode images at full size.
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
_WORKERS = flags.DEFINE_integer("workers", len(os.sched_getaffinity(0)), "Worker processes of each pipeline.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per minibatch.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed runs of each pipeline, alternating.")
_BATCHES = flags.DEFINE_integer("batches", 12, "Minibatches per timed run.")
_REST = flags.DEFINE_float("rest", 2.0, "Pause in seconds after each timed run, until its workers are idle.")
_OUT = flags.DEFINE_string("out", "", "JSON file to write.")

ENDLESS = 2**31
OURS = "resjax"


def pillow_image(path: Path, number: int, data: Data) -> np.ndarray:
  """Decodes, resizes, crops and flips an image with Pillow."""
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
  """Returns a minibatch of `size` images made with Pillow."""
  places = range(piece * size, (piece + 1) * size)
  return np.stack([pillow_image(files.root / files.names[place % len(files)], place, data) for place in places])


def decoded_piece(files: FolderFiles, size: int, piece: int) -> int:
  """Decodes `size` images at full size and returns only their number of pixels."""
  names = [files.names[place % len(files)] for place in range(piece * size, (piece + 1) * size)]
  return sum(simplejpeg.decode_jpeg((files.root / name).read_bytes()).size for name in names)


def pooled(pool: ProcessPoolExecutor, make: Callable[[int], object], pieces: int) -> Iterator[list]:
  """Yields lists of `pieces` results in order; each worker prefetches two."""
  ahead = 2 * _WORKERS.value
  numbers = itertools.count()
  waiting = [pool.submit(make, next(numbers)) for _ in range(ahead)]
  while True:
    batch = []
    for _ in range(pieces):
      batch.append(waiting.pop(0).result())
      waiting.append(pool.submit(make, next(numbers)))
    yield batch


def pillow_batches(files: FolderFiles, data: Data, pool: ProcessPoolExecutor) -> Iterator[int]:
  """Yields minibatches made with Pillow in a pool of processes."""
  share = batch_stream.Share(_BATCH.value)
  make = functools.partial(pillow_piece, files, data, share.piece)
  for pieces in pooled(pool, make, share.pieces):
    yield len(np.concatenate(pieces))


def decoding_bound(files: FolderFiles, data: Data, pool: ProcessPoolExecutor) -> Iterator[int]:
  """Yields the results of decoding alone, the upper bound."""
  share = batch_stream.Share(_BATCH.value)
  for _ in pooled(pool, functools.partial(decoded_piece, files, share.piece), share.pieces):
    yield _BATCH.value


class TorchImages:
  """Data set of PyTorch that uses Pillow, as the transforms of torchvision do for such images."""

  def __init__(self, files: FolderFiles, data: Data):
    self.files, self.data = files, data

  def __len__(self) -> int:
    return ENDLESS

  def __getitem__(self, place: int):
    import torch

    index = place % len(self.files)
    image = pillow_image(self.files.root / self.files.names[index], place, self.data)
    return torch.from_numpy(image.transpose(2, 0, 1).copy()), int(self.files.labels[index])


def torch_batches(files: FolderFiles, data: Data) -> Iterator[int]:
  """Yields minibatches of a DataLoader with its defaults: each worker makes whole minibatches and prefetches two."""
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


def resjax_batches(files: FolderFiles, data: Data) -> Iterator[int]:
  """Yields minibatches of the input pipeline of resjax."""
  make = batch_stream.TrainPieces(files, data, 0, batch_stream.Share(_BATCH.value))
  for batch in batch_stream.batches(make, 0, ENDLESS // _BATCH.value, _WORKERS.value):
    yield len(batch.images)


def measure(running: dict[str, Iterator[int]]) -> dict[str, list[float]]:
  """Returns images per second of each pipeline, one value per round.

  A pipeline fills its prefetch buffers between its timed runs; these minibatches are consumed before the timing starts.
  """
  ready = 2 * _WORKERS.value  # minibatches that a DataLoader prefetches; the other pipelines prefetch fewer
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
  """Returns a row per pipeline: median, range, median per worker, and the speed-up of resjax over it."""
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
      OURS: resjax_batches(files, data),
      "Pillow, process pool": pillow_batches(files, data, pillow),
      "PyTorch DataLoader": torch_batches(files, data),
      "decoding alone, the bound": decoding_bound(files, data, bound),
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
