"""Image folders with one folder per class, and Tiny ImageNet as published.

Supported layouts of the folder `data.path`, with images at any depth below the folder of their class:

    train/CLASS/...  val/CLASS/...                  a training and a test set, as ImageNet is usually unpacked
    train/CLASS/...  test/CLASS/...                 likewise
    train/CLASS/...  val/val_annotations.txt        Tiny ImageNet, whose file lists the classes of val/images/
    train/CLASS/...  or  CLASS/...                  one set, of which the share `data.test_share` is the test set

A folder test/ without folders in it, or next to val/ without a folder of a class, has no labels and is not read, such
as that of Tiny ImageNet. If both val/ and test/ have labels, the folder is refused. Links to folders are followed.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resjax.config import Data
from resjax.data.dataset import Description
from resjax.data.files import FolderFiles
from resjax.settings import ConfigError

SUFFIXES = (".jpeg", ".jpg", ".png")
ANNOTATIONS = "val_annotations.txt"


def describe(data: Data) -> Description:
  """Describes the data set from its folders, without opening a file.

  Raises:
    ConfigError: The folder does not have a supported layout; see `find`.
  """
  train, test, classes = find(data)
  return Description((data.image_size, data.image_size, 3), len(classes), len(train), len(test))


def find(data: Data) -> tuple[FolderFiles, FolderFiles, tuple[str, ...]]:
  """Returns training images, test images, both in the order of their names, and the names of the classes in order.

  Raises:
    ConfigError: The folder does not exist, a class has no images, a test class is not in the training set, or both
      val/ and test/ have labels.
  """
  root = _root(data)
  try:
    top, classes, split = _layout(root)
    train = _images(root, {name: top / name for name in classes})
    if split:
      return train, _test_images(root, split, classes), classes
    return *_hold_out_test_images(train, data), classes
  except OSError as error:
    raise ConfigError(f"{error.filename or root}: cannot be read ({error.strerror})") from None


def has_test_folder(data: Data) -> bool:
  """Returns whether the test images are in a folder of their own, so that `data.test_share` has no effect.

  Raises:
    ConfigError: The folder does not have a supported layout.
  """
  root = _root(data)
  try:
    return bool(_layout(root)[2])
  except OSError as error:
    raise ConfigError(f"{error.filename or root}: cannot be read ({error.strerror})") from None


def _root(data: Data) -> Path:
  if not data.path:
    raise ConfigError("data.path is empty: data.name = 'folder' needs the path of an image folder")
  root = Path(data.path).expanduser()
  if not root.is_dir():
    raise ConfigError(f"data.path = {data.path!r}: no such folder")
  return root


def _layout(root: Path) -> tuple[Path, tuple[str, ...], str]:
  """Returns the folder of the training images, the names of the classes and the folder of the test images, or ""."""
  top = root / "train" if (root / "train").is_dir() else root
  classes = tuple(_folders(top))
  return top, classes, "" if top == root else _test_split(root, classes)


def digest(*parts: FolderFiles) -> str:
  """Returns the SHA-256 digest, in hexadecimal, of the names, sizes in bytes and labels of all files in order."""
  sha = hashlib.sha256()
  for files in parts:
    for name, label in zip(files.names, files.labels.tolist(), strict=True):
      line = f"{name}\0{(files.root / name).stat().st_size}\0{label}\n"
      sha.update(line.encode("utf-8", "surrogateescape"))  # the bytes of the name on disk, which may not be UTF-8
    sha.update(b"\n")
  return sha.hexdigest()


def _folders(path: Path) -> list[str]:
  """Returns the sorted names of the subfolders of a folder."""
  found = _subfolders(path)
  if not found:
    raise ConfigError(f"{path}: contains no folder; there must be one per class")
  return found


def _subfolders(path: Path) -> list[str]:
  return sorted(entry.name for entry in os.scandir(path) if entry.is_dir() and not entry.name.startswith("."))


def _images(root: Path, folders: dict[str, Path]) -> FolderFiles:
  """Returns the images below the folders of the classes, labeled in the order of `folders`."""
  names: list[str] = []
  counts = []
  for folder in folders.values():
    found = sorted(
      (where / name).relative_to(root).as_posix()
      for where, files in _walk(folder)
      for name in files
      if name.lower().endswith(SUFFIXES) and not name.startswith(".")
    )
    if not found:
      raise ConfigError(f"{folder}: contains no image; images are files named {', '.join('*' + s for s in SUFFIXES)}")
    names += found
    counts.append(len(found))
  return FolderFiles(root, tuple(names), np.repeat(np.arange(len(counts), dtype=np.int32), counts))


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
  """Yields each folder at and below `folder`, also through links, and the names of its files.

  A folder that links lead to, too, is visited once, and links to folders above `folder` are not followed.
  """
  visited = {above.resolve() for above in folder.absolute().parents}
  waiting = [folder]
  while waiting:
    links = []  # followed after the folders themselves, in a fixed order
    for top in sorted(waiting):
      for name, folders, files in os.walk(top, onerror=_raise):
        where = Path(name)
        if (real := where.resolve()) in visited:
          folders.clear()
          continue
        visited.add(real)
        links += [path for each in folders if (path := where / each).is_symlink()]
        yield where, files
    waiting = links


def _raise(error: OSError) -> None:
  raise error


def _test_split(root: Path, classes: tuple[str, ...]) -> str:
  """Returns the name of the folder with the test images, "val" or "test"; "" if there is no labeled one.

  Raises:
    ConfigError: Both have labels.
  """
  there = [name for name in ("val", "test") if (root / name).is_dir()]
  labeled = [
    name
    for name in there
    if (root / name / ANNOTATIONS).is_file() or not set(classes).isdisjoint(_subfolders(root / name))
  ]
  if len(labeled) == 2:
    raise ConfigError(f"{root}: val and test both have folders of the classes; move the one that is not the test set")
  if not labeled and "val" in there:
    return "val"  # whose folders are named in the error that follows
  return labeled[0] if labeled else ""


def _test_images(root: Path, split: str, classes: tuple[str, ...]) -> FolderFiles:
  """Returns the images below the folder `split`, labeled by the positions of their classes in `classes`."""
  numbers = {name: number for number, name in enumerate(classes)}
  if (root / split / ANNOTATIONS).is_file():
    return _annotated(root, numbers)
  folders = _folders(root / split)
  unknown = [name for name in folders if name not in numbers]
  if unknown:
    raise ConfigError(f"{root / split / unknown[0]}: not a class of {root / 'train'}; rename it, or move it away")
  files = _images(root, {name: root / split / name for name in folders})
  return FolderFiles(root, files.names, np.array([numbers[name] for name in folders], np.int32)[files.labels])


def _annotated(root: Path, numbers: dict[str, int]) -> FolderFiles:
  """Returns the images in Tiny ImageNet's list, whose tab-separated lines are file name, class and bounding box."""
  path = root / "val" / ANNOTATIONS
  names, labels = [], []
  for number, line in enumerate(path.read_text("utf-8", errors="surrogateescape").splitlines(), 1):
    name, _, rest = line.partition("\t")
    label = rest.split("\t")[0]
    if label not in numbers:
      raise ConfigError(f"{path}, line {number}: class {label!r} is not in {root / 'train'}")
    names.append(f"val/images/{name}")
    labels.append(numbers[label])
  if not names:
    raise ConfigError(f"{path}: lists no image")
  return FolderFiles(root, tuple(names), np.array(labels, np.int32))


def _hold_out_test_images(files: FolderFiles, data: Data) -> tuple[FolderFiles, FolderFiles]:
  """Splits one set into training and test images; the test images are the first ones of a fixed permutation."""
  total = len(files)
  count = round(total * data.test_share)
  if not 0 < count < total:
    raise ConfigError(
      f"data.test_share = {data.test_share}: selects {count} of the {total} images of {files.root}, which has neither "
      "val/ nor test/; the training set and the test set must each have at least one image"
    )
  held = np.zeros(total, bool)
  held[np.random.RandomState(0).permutation(total)[:count]] = True  # numpy guarantees the stream of RandomState
  return files.take(np.flatnonzero(~held)), files.take(np.flatnonzero(held))
