"""Image folders: one folder a class, as ImageNet is usually unpacked, or Tiny ImageNet as it is published.

Known layouts of the folder that `data.path` names, where an image may lie at any depth below its class:

    train/CLASS/...  val/CLASS/...                  a training and a test set
    train/CLASS/...  val/val_annotations.txt        Tiny ImageNet: the classes of val/images/ stand in that file
    train/CLASS/...  or  CLASS/...                  one set, of which `data.test_share` is held back to test on
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from resjax.config import Data
from resjax.data.dataset import Description
from resjax.data.files import FolderFiles
from resjax.settings import ConfigError

SUFFIXES = (".jpeg", ".jpg", ".png")
ANNOTATIONS = "val_annotations.txt"


def describe(data: Data) -> Description:
  """Describes the set by its folders, without opening a file.

  Raises:
    ConfigError: see `find`.
  """
  train, test, classes = find(data)
  return Description((data.image_size, data.image_size, 3), len(classes), len(train), len(test))


def find(data: Data) -> tuple[FolderFiles, FolderFiles, tuple[str, ...]]:
  """Returns training and test images in the order of their names, and the names of the classes in order.

  Raises:
    ConfigError: there is no such folder, a class is empty, or the test set has a class the training set has not.
  """
  if not data.path:
    raise ConfigError("data.path is empty: data.name = 'folder' needs the path of an image folder")
  root = Path(data.path).expanduser()
  if not root.is_dir():
    raise ConfigError(f"data.path = {data.path!r}: no such folder")
  try:
    top = root / "train" if (root / "train").is_dir() else root
    classes = tuple(_folders(top))
    train = _images(root, {name: top / name for name in classes})
    if top != root and (root / "val").is_dir():
      return train, _validation(root, classes), classes
    return *_held_back(train, data), classes
  except OSError as error:
    raise ConfigError(f"{error.filename or root}: cannot be read ({error.strerror})") from None


def digest(*parts: FolderFiles) -> str:
  """Returns SHA-256, in hexadecimal, over names, sizes in bytes and labels of all files in order."""
  sha = hashlib.sha256()
  for files in parts:
    for name, label in zip(files.names, files.labels.tolist(), strict=True):
      sha.update(f"{name}\0{(files.root / name).stat().st_size}\0{label}\n".encode())
    sha.update(b"\n")
  return sha.hexdigest()


def _folders(path: Path) -> list[str]:
  """Returns the names of the folders in a folder, sorted."""
  found = sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))
  if not found:
    raise ConfigError(f"{path}: holds no folder; there must be one a class")
  return found


def _images(root: Path, folders: dict[str, Path]) -> FolderFiles:
  """Returns the images below one folder a class, classes numbered in the order given."""
  names: list[str] = []
  counts = []
  for folder in folders.values():
    found = sorted(
      (Path(where) / name).relative_to(root).as_posix()
      for where, _, files in os.walk(folder, onerror=_raise)
      for name in files
      if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )
    if not found:
      raise ConfigError(f"{folder}: holds no image; images are files named {', '.join('*' + s for s in SUFFIXES)}")
    names += found
    counts.append(len(found))
  return FolderFiles(root, tuple(names), np.repeat(np.arange(len(counts), dtype=np.int32), counts))


def _raise(error: OSError) -> None:
  raise error


def _validation(root: Path, classes: tuple[str, ...]) -> FolderFiles:
  """Returns the images below val/."""
  numbers = {name: number for number, name in enumerate(classes)}
  if (root / "val" / ANNOTATIONS).is_file():
    return _annotated(root, numbers)
  folders = _folders(root / "val")
  unknown = [name for name in folders if name not in numbers]
  if unknown:
    raise ConfigError(f"{root / 'val' / unknown[0]}: a class that {root / 'train'} has not")
  files = _images(root, {name: root / "val" / name for name in folders})
  return FolderFiles(root, files.names, np.array([numbers[name] for name in folders], np.int32)[files.labels])


def _annotated(root: Path, numbers: dict[str, int]) -> FolderFiles:
  """Returns the images that Tiny ImageNet's list names: a line each with file name, class and a box, tabs between."""
  path = root / "val" / ANNOTATIONS
  names, labels = [], []
  for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
    name, _, rest = line.partition("\t")
    label = rest.split("\t")[0]
    if label not in numbers:
      raise ConfigError(f"{path}, line {number}: class {label!r} is none of those of {root / 'train'}")
    names.append(f"val/images/{name}")
    labels.append(numbers[label])
  if not names:
    raise ConfigError(f"{path}: names no image")
  return FolderFiles(root, tuple(names), np.array(labels, np.int32))


def _held_back(files: FolderFiles, data: Data) -> tuple[FolderFiles, FolderFiles]:
  """Splits one set into training and test images: the first ones of a fixed permutation are tested on."""
  total = len(files)
  count = round(total * data.test_share)
  if not 0 < count < total:
    raise ConfigError(
      f"data.test_share = {data.test_share}: is {count} of the {total} images of {files.root}, which has no val/; "
      "there must be some to test on and some to train on"
    )
  held = np.zeros(total, bool)
  held[np.random.RandomState(0).permutation(total)[:count]] = True  # a stream that numpy keeps for ever
  return files.take(np.flatnonzero(~held)), files.take(np.flatnonzero(held))
