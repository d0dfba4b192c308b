"""Reader of PASCAL VOC: Annotations/*.xml, JPEGImages/*, ImageSets/Main/*.txt, or folders VOC2007, VOC2012, ....

A split is a comma-separated list of image sets, such as "trainval" or "VOC2007/trainval,VOC2012/trainval". Without
settings, the test images are those of the first image set `test`, and the training images all those of `trainval`. If
no folder has `test`, as that of VOC2012, they are those of `val` and `train` instead, because `val` is a part of
`trainval`.
"""

import dataclasses
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path

from resjax.config import Data
from resjax.data.annotated_images import (
  AnnotatedImage,
  AnnotationFaults,
  DetectionDataset,
  build_dataset,
  clip_annotation,
)
from resjax.settings import ConfigError

CLASSES = (
  *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog"),
  *("horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def load(data: Data) -> DetectionDataset:
  """Reads the annotations of a data set.

  The classes are the twenty of VOC, or, if training images have others, those of the training images in alphabetical
  order.

  Args:
    data: Settings of the data set.

  Raises:
    ConfigError: A folder, an image set or an annotation is missing or damaged, a test image has an unknown class, or an
      image is in both splits.
  """
  root = Path(data.path).expanduser()
  lists = _lists(data, root)
  entries = {split: list(_entries(paths)) for split, paths in lists.items()}
  # Folders of several years may have images of the same name.
  parsed = {(folder, name): _parse(folder, name) for folder, name in [*entries["train"], *entries["test"]]}
  trained = {each for entry in entries["train"] for each in parsed[entry].class_names}
  names = CLASSES if trained <= set(CLASSES) else tuple(sorted(trained))
  numbers = {name: number for number, name in enumerate(names, 1)}

  def read(split: str, faults: AnnotationFaults) -> Iterator[AnnotatedImage]:
    for entry in entries[split]:
      yield parsed[entry].image(numbers, faults)

  dataset = build_dataset(data, "PASCAL VOC", list(enumerate(names, 1)), read)
  if data.test_split or lists["test"][0].stem == "test":
    return dataset
  used = {split: ", ".join(_name(path, root) for path in paths) for split, paths in lists.items()}
  note = f"no image set test, so the test images are those of {used['test']} and the training images {used['train']}"
  return dataclasses.replace(dataset, notes=(note, *dataset.notes))


class _Annotation:
  """Content of an annotation file, with names instead of numbers of the classes."""

  def __init__(self, name: str, path: Path, folder: Path, tree: ElementTree.Element):
    """Reads the size of the image and its objects.

    Args:
      name: Name of the image.
      path: Annotation file.
      folder: Folder of the data set.
      tree: Parsed annotation file.

    Raises:
      ConfigError: An element is missing or has no valid value.
    """
    self._name, self._path = name, path
    try:
      height, width = (int(_text(tree, f"size/{key}")) for key in ("height", "width"))
      self._size = height, width
      self._file = folder / "JPEGImages" / _text(tree, "filename")
      self._objects = [self._object(each) for each in tree.findall("object")]
    except (ValueError, LookupError) as error:
      raise ConfigError(f"{path}: must be an annotation in the format of PASCAL VOC ({error})") from None
    if height <= 0 or width <= 0:
      raise ConfigError(f"{path}: size = {height} x {width}: height and width must be positive")

  @staticmethod
  def _object(element: ElementTree.Element) -> tuple[str, tuple[float, ...], bool]:
    left, top, right, bottom = (float(_text(element, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
    difficult = (element.findtext("difficult") or "0").strip() == "1"
    # VOC counts pixels from 1, and the box includes the last one.
    return _text(element, "name"), (left - 1, top - 1, right, bottom), difficult

  @property
  def class_names(self) -> set[str]:
    """Names of the classes of its objects."""
    return {name for name, _, _ in self._objects}

  def image(self, numbers: dict[str, int], faults: AnnotationFaults) -> AnnotatedImage:
    """Returns the image with the numbers of the classes.

    Args:
      numbers: Numbers of the classes by name.
      faults: Record to which faults are added.

    Raises:
      ConfigError: A class has no number.
    """
    for name in self.class_names:
      if name not in numbers:
        raise ConfigError(f"{self._path}: class {name!r}: must be a class of the training images: {', '.join(numbers)}")
    rows = [(box, numbers[name], difficult, None) for name, box, difficult in self._objects]
    return clip_annotation(self._name, self._file, self._size, rows, faults)


def _lists(data: Data, root: Path) -> dict[str, list[Path]]:
  """Returns the files of the image sets of each split."""
  if not data.path:
    raise ConfigError("data.path is empty: data.name = 'voc' needs a folder with Annotations, JPEGImages and ImageSets")
  if not root.is_dir():
    raise ConfigError(f"data.path = {data.path!r}: no such folder")
  folders = [root] if (root / "Annotations").is_dir() else sorted(root.glob("VOC20*"))
  if not folders:
    raise ConfigError(f"data.path = {data.path!r}: must contain Annotations, or a folder such as VOC2007")
  test = _given(root, data.test_split) or (_existing(folders, "test") or _existing(folders, "val"))[:1]
  train = _given(root, data.train_split)
  if not train:
    names = ("train",) if any(path.stem == "val" for path in test) else ("trainval", "train")
    train = [path for folder in folders for path in _existing([folder], *names)[:1]]
  lists = {"train": train, "test": test}
  for split, paths in lists.items():
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
      raise ConfigError(
        f"{missing[0] if missing else root}: no image set of the {split} split; set data.{split}_split, for example to "
        "trainval or VOC2007/trainval,VOC2012/trainval"
      )
  return lists


def _given(root: Path, split: str) -> list[Path]:
  """Returns the files of the image sets that a setting names."""
  return [_list(root / Path(each).parent, Path(each).name) for each in split.split(",")] if split else []


def _existing(folders: Sequence[Path], *names: str) -> list[Path]:
  """Returns the files of the image sets with these names that exist, in this order."""
  return [path for folder in folders for name in names if (path := _list(folder, name)).is_file()]


def _list(folder: Path, name: str) -> Path:
  return folder / "ImageSets" / "Main" / f"{name}.txt"


def _name(path: Path, root: Path) -> str:
  """Returns the name of an image set, as `data.train_split` would have it."""
  return (path.parents[2].relative_to(root) / path.stem).as_posix()


def _entries(lists: list[Path]) -> Iterator[tuple[Path, str]]:
  """Yields folder and name of each image of the image sets."""
  for path in lists:
    try:
      lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
      raise ConfigError(f"{path}: cannot be read ({error})") from None
    for line in lines:
      if line.strip():
        yield path.parents[2], line.split()[0]


def _parse(folder: Path, name: str) -> _Annotation:
  path = folder / "Annotations" / f"{name}.xml"
  try:
    tree = ElementTree.parse(path).getroot()
  except OSError as error:
    raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
  except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter two: an unknown encoding
    raise ConfigError(f"{path}: is not XML ({error})") from None
  return _Annotation(name, path, folder, tree)


def _text(element: ElementTree.Element, key: str) -> str:
  """Returns the text of the element at a path; raises LookupError if it is missing."""
  text = element.findtext(key)
  if text is None:
    raise LookupError(f"{key} is missing")
  return text.strip()
