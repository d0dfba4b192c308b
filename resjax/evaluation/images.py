"""Test images of the data set at a path, whose kind is detected."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from resjax import data, host
from resjax.config import Data
from resjax.data import cifar_detection, folder
from resjax.data.annotated_images import DetectionDataset
from resjax.data.dataset import Dataset, FileDataset
from resjax.data.files import Files, Unreadable
from resjax.settings import ConfigError
from resjax.train.run_files import RestoredRun

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
    class_names: Names of the classes in the order of the labels; empty if they are not known.
  """

  name: str
  path: str
  form: str
  classes: int
  notes: tuple[str, ...]
  pairs: Callable[[int], Pairs]
  skipped: list[str]
  class_names: tuple[str, ...] = ()

  def __str__(self) -> str:
    return self.path or self.name


def read(path: str, nets: Sequence[RestoredRun] = ()) -> ImageSet:
  """Returns the test images of a data set.

  Args:
    path: Path of an .npz file, of CIFAR in any form or of an image folder; or one of `NAMES`.
    nets: Networks to test. The settings of the data set that they were trained on are used for the same data set.

  Raises:
    ConfigError: The path does not exist, contains no known data set, or cannot be read.
  """
  source = next((net.config.data for net in nets if _is_at(path, net)), None) or detect_data_set(path)
  if source.name == FOLDER:
    return _read_folder(path, nets)
  dataset = data.load(source)
  assert not isinstance(dataset, DetectionDataset)  # detectors are evaluated by resjax.detection
  if isinstance(dataset, FileDataset):
    return _of_files(dataset, (dataset.test,), ())
  arrays = dataset.test_images, dataset.test_labels.tolist()
  return _image_set(dataset, lambda _: zip(*arrays, strict=True), [], ())


def _read_folder(path: str, nets: Sequence[RestoredRun]) -> ImageSet:
  """Returns the test images of an image folder, which are read as files even if the networks were trained in memory.

  A single set of images was split into training and test images only if a network was trained on it. The test images
  are then those of training; of several networks those of the smallest `data.test_share`, which are test images of all.
  """
  source = Data(name=FOLDER, path=path)
  if folder.has_test_folder(source):
    dataset = _load_files(source)
    return _of_files(dataset, (dataset.test,), ())
  candidates = [net for net in nets if net.config.data.name == FOLDER]
  recorded = [net for net in candidates if net.data_digest]
  digests = {settings: _digest(settings, path) for settings in {net.config.data for net in recorded}}
  matching = [net for net in recorded if digests[net.config.data] == net.data_digest]
  trained = matching + [net for net in candidates if _is_at(path, net)]
  if trained:
    share = min(net.config.data.test_share for net in trained)
    dataset = _load_files(dataclasses.replace(source, test_share=share))
    notes = [
      f"{path}: the files are not those that {net.directory} was trained on, so that training images may be tested"
      for net in recorded
      if _is_at(path, net) and digests[net.config.data] != net.data_digest
    ]
    return _of_files(dataset, (dataset.test,), notes)
  unknown = "the folder has no test set, and no network is known to have been trained on it"
  if (Path(path).expanduser() / "train").is_dir():
    dataset = _load_files(source)
    tested, total = len(dataset.test), len(dataset.train) + len(dataset.test)
    return _of_files(dataset, (dataset.test,), [f"{path}: {tested} of the {total} images are tested; {unknown}"])
  # Both parts are tested. Of the default share, four images would have no test image, which is an error.
  dataset = _load_files(dataclasses.replace(source, test_share=0.5))
  total = len(dataset.train) + len(dataset.test)
  return _of_files(dataset, (dataset.train, dataset.test), [f"{path}: all {total} images are tested; {unknown}"])


def _load_files(source: Data) -> FileDataset:
  dataset = data.load(source)
  assert isinstance(dataset, FileDataset)  # as by default, images are not decoded to memory
  return dataset


def _is_at(path: str, net: RestoredRun) -> bool:
  """Returns whether a network was trained on a data set at this path."""
  trained = net.config.data.path
  return bool(trained) and Path(path).expanduser().resolve() == Path(trained).expanduser().resolve()


def _digest(settings: Data, path: str) -> str:
  """Returns the digest of the image folder at a path, wherever it was in training; "" if it cannot be read so."""
  try:
    return data.load(dataclasses.replace(settings, path=path, validation_images=0)).digest
  except ConfigError:
    return ""


def _of_files(dataset: FileDataset, parts: Sequence[Files], notes: Sequence[str]) -> ImageSet:
  skipped: list[str] = []
  return _image_set(dataset, functools.partial(_decode, parts, skipped), skipped, notes)


def _image_set(
  dataset: Dataset | FileDataset, pairs: Callable[[int], Pairs], skipped: list[str], notes: Sequence[str]
) -> ImageSet:
  return ImageSet(
    dataset.name,
    dataset.path,
    dataset.form,
    dataset.classes,
    (*dataset.notes, *notes),
    pairs,
    skipped,
    dataset.class_names,
  )


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
