"""Test images of the data set at a path, whose kind is detected."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from resjax import data, host
from resjax.config import Data
from resjax.data import cifar_detection
from resjax.data.annotated_images import DetectionDataset
from resjax.data.dataset import Dataset, FileDataset
from resjax.data.files import Files, Unreadable
from resjax.settings import ConfigError

FOLDER = "folder"
NAMES = ("digits", "imagenet2012")  # data sets that are given by name instead of a path
CHUNK = 256  # files that are submitted for decoding at a time

Pairs = Iterator[tuple[np.ndarray, int]]  # images, uint8 [H, W, C], and their labels


@dataclasses.dataclass(frozen=True)
class ImageSet:
  """Test images.

  Attributes:
    name: Name of the data set.
    path: Path of the data set.
    form: Form of the data set.
    classes: Number of classes.
    notes: Sentences for the record of a run.
    pairs: Function that yields all images and labels, given the minimum shorter side to which image files are decoded,
      in pixels; smaller images keep their size.
    skipped: Error message of each image that could not be decoded in the last pass.
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
  """Returns the test images of a data set.

  Of an image folder without train/, all images are test images, unless the network was trained on this folder.

  Args:
    path: Path of an .npz file, of CIFAR in any form or of an image folder; or one of `NAMES`.
    trained: Settings of the data set that the network was trained on, which are used if its path is the same.

  Raises:
    ConfigError: The path does not exist, contains no known data set, or cannot be read.
  """
  same = bool(trained.path) and Path(path).expanduser().resolve() == Path(trained.path).expanduser().resolve()
  source = trained if same else detect_data_set(path)
  if source.name == FOLDER:
    source = Data(name=FOLDER, path=path, test_share=source.test_share)  # read as files, even if trained in memory
  dataset = data.load(source)
  assert not isinstance(dataset, DetectionDataset)  # detectors are evaluated by resjax.detection
  if isinstance(dataset, Dataset):
    arrays = dataset.test_images, dataset.test_labels.tolist()
    return _image_set(dataset, lambda _: zip(*arrays, strict=True), skipped=[])
  # A folder with a single set was split into training and test images only if the network was trained on it.
  is_unsplit = source.name == FOLDER and not same and not (Path(path).expanduser() / "train").is_dir()
  parts = (dataset.train, dataset.test) if is_unsplit else (dataset.test,)
  skipped: list[str] = []
  decoded = functools.partial(_decode, parts, skipped)
  return _image_set(dataset, decoded, skipped)


def _image_set(dataset: Dataset | FileDataset, pairs: Callable[[int], Pairs], skipped: list[str]) -> ImageSet:
  return ImageSet(dataset.name, dataset.path, dataset.form, dataset.classes, dataset.notes, pairs, skipped)


def detect_data_set(path: str) -> Data:
  """Returns the settings of the data set at a path.

  Raises:
    ConfigError: The path does not exist or contains no known data set.
  """
  if path in NAMES:
    return Data(name=path)
  location = Path(path).expanduser()
  if not location.exists():
    raise ConfigError(f"--data {path}: no such file or folder, and none of {', '.join(NAMES)}")
  if location.suffix == ".npz":
    return Data(name="npz", path=path)
  if name := cifar_detection.detect_name(location):
    return Data(name=name, path=path, checksum="any")
  if location.is_dir():
    return Data(name=FOLDER, path=path)
  raise ConfigError(f"--data {path}: neither an .npz file, nor CIFAR, nor an image folder")


def _decode(parts: Sequence[Files], skipped: list[str], side: int) -> Pairs:
  """Yields images and labels, decoded by one thread per core; stores the errors of unreadable images in `skipped`."""
  from resjax.data.image_decoder import decode  # needs the extra imagenet

  def decode_one(position: tuple[Files, int]) -> tuple[np.ndarray, int] | str:
    files, index = position
    try:
      encoded = files.read(index)
      return decode(encoded, side), encoded.label
    except Unreadable as error:
      return str(error)

  skipped.clear()
  positions = [(files, index) for files in parts for index in range(len(files))]
  with ThreadPoolExecutor(host.cpu_cores()) as pool:  # the decoders release the GIL
    for start in range(0, len(positions), CHUNK):
      for found in pool.map(decode_one, positions[start : start + CHUNK]):
        if isinstance(found, str):
          skipped.append(found)
        else:
          yield found
