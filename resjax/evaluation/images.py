"""The test images of whatever a path is."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from resjax import data
from resjax.config import Data
from resjax.data import cifar_detection
from resjax.data.dataset import Dataset, FileDataset
from resjax.data.files import Files, Unreadable
from resjax.settings import ConfigError

FOLDER = "folder"
NAMES = ("digits", "imagenet2012")  # come with a package, or prepared before: the name stands for a path
CHUNK = 256  # files that are decoded at once

Pairs = Iterator[tuple[np.ndarray, int]]  # images, uint8 [H, W, C], and their labels


@dataclasses.dataclass(frozen=True)
class ImageSet:
  """Test images.

  Attributes:
    name, path, form: of the data set.
    classes: of the data set.
    notes: sentences that belong in the record.
    pairs: yields all images; of image files the shorter side has so many pixels or more, if the file has them.
    skipped: what is wrong with each image that could not be decoded and was left out, in the last pass.
  """

  name: str
  path: str
  form: str
  classes: int
  notes: tuple[str, ...]
  pairs: Callable[[int], Pairs]
  skipped: list[str]

  def __str__(self) -> str:
    return self.path or self.name


def read(path: str, trained: Data) -> ImageSet:
  """Finds the test images of a data set; of an image folder without train/ that is not the one trained on, all of them.

  Args:
    path: of an .npz file, CIFAR in any form, an image folder; or one of `NAMES`.
    trained: the settings of the data set that a net was trained on; they hold where it is the same path.

  Raises:
    ConfigError: there is no such path, nothing known in it, or it cannot be read.
  """
  same = bool(trained.path) and Path(path).expanduser().resolve() == Path(trained.path).expanduser().resolve()
  source = trained if same else recognised(path)
  if source.name == FOLDER:
    source = Data(name=FOLDER, path=path, test_share=source.test_share)  # files, however they were trained on
  dataset = data.load(source)
  if isinstance(dataset, Dataset):
    arrays = dataset.test_images, dataset.test_labels.tolist()
    return _image_set(dataset, lambda _: zip(*arrays, strict=True), skipped=[])
  # Of a folder with one set nobody held any images back, unless a net was trained on it.
  one_set = source.name == FOLDER and not same and not (Path(path).expanduser() / "train").is_dir()
  parts = (dataset.train, dataset.test) if one_set else (dataset.test,)
  skipped: list[str] = []
  decoded = functools.partial(_decoded, parts, skipped)
  return _image_set(dataset, decoded, skipped)


def _image_set(dataset: Dataset | FileDataset, pairs: Callable[[int], Pairs], skipped: list[str]) -> ImageSet:
  return ImageSet(dataset.name, dataset.path, dataset.form, dataset.classes, dataset.notes, pairs, skipped)


def recognised(path: str) -> Data:
  """Returns the settings that read a path.

  Raises:
    ConfigError: there is no such path, or nothing known in it.
  """
  if path in NAMES:
    return Data(name=path)
  there = Path(path).expanduser()
  if not there.exists():
    raise ConfigError(f"--data {path}: no such file or folder")
  if there.suffix == ".npz":
    return Data(name="npz", path=path)
  if name := cifar_detection.recognised(there):
    return Data(name=name, path=path, checksum="any")
  if there.is_dir():
    return Data(name=FOLDER, path=path)
  raise ConfigError(f"--data {path}: neither an .npz file, nor CIFAR, nor an image folder")


def _decoded(parts: Sequence[Files], skipped: list[str], side: int) -> Pairs:
  """Yields images and labels, decoded by as many threads as there are cores; lists what is skipped."""
  from resjax.data.image_decoder import decode  # needs the extra imagenet

  def one(place: tuple[Files, int]) -> tuple[np.ndarray, int] | str:
    files, index = place
    try:
      encoded = files.read(index)
      return decode(encoded, side), encoded.label
    except Unreadable as error:
      return str(error)

  skipped.clear()
  places = [(files, index) for files in parts for index in range(len(files))]
  with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:  # the decoders let go of the interpreter's lock
    for start in range(0, len(places), CHUNK):
      for found in pool.map(one, places[start : start + CHUNK]):
        if isinstance(found, str):
          skipped.append(found)
        else:
          yield found
