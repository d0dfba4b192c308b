"""Data sets of images with annotated boxes, and the checks that the readers of PASCAL VOC and COCO share."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from resjax.config import Data
from resjax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
  """An image file with annotated boxes.

  Attributes:
    name: Name of the image in messages and records.
    path: Image file.
    height: Height in pixels according to the annotation.
    width: Width in pixels according to the annotation.
    boxes: Boxes (left, top, right, bottom) in pixels, inside of the image, float32 [M, 4].
    labels: Classes from 1 to the number of classes, int32 [M].
    ignored: Whether a box is neither an object to find nor background: "difficult" in VOC, "iscrowd" in COCO, bool [M].
    areas: Areas of the objects in pixels, by which COCO distinguishes small and large objects, float32 [M].
  """

  name: str
  path: Path
  height: int
  width: int
  boxes: np.ndarray
  labels: np.ndarray
  ignored: np.ndarray
  areas: np.ndarray

  @property
  def objects(self) -> int:
    """Number of objects that are not ignored."""
    return int((~self.ignored).sum())


@dataclasses.dataclass(frozen=True)
class DetectionDataset:
  """A data set with boxes.

  Attributes:
    name: Value of `data.name`.
    path: Folder of the data set.
    form: Format of the files, "PASCAL VOC" or "COCO".
    class_names: Names of the classes; label 1 is the first.
    category_ids: Numbers of the classes in the annotation files.
    digest: SHA-256 over names, sizes and boxes of all images.
    train: Training images without the held-out ones.
    validation: Images held out of the training set.
    test: Test images.
    notes: Remarks for the records of a run.
  """

  name: str
  path: str
  form: str
  class_names: tuple[str, ...]
  category_ids: tuple[int, ...]
  digest: str
  train: tuple[AnnotatedImage, ...]
  validation: tuple[AnnotatedImage, ...]
  test: tuple[AnnotatedImage, ...]
  notes: tuple[str, ...]

  @property
  def classes(self) -> int:
    """Number of classes without the background."""
    return len(self.class_names)

  def count(self, split: str) -> int:
    """Returns the number of images of `train`, `val` or `test`."""
    return len({"train": self.train, "val": self.validation, "test": self.test}[split])


class AnnotationFaults:
  """Faults in annotations, counted by kind, with the names of the first images of each kind."""

  def __init__(self) -> None:
    self._found: dict[str, list[str]] = {}

  def add(self, kind: str, name: str) -> None:
    """Records a fault.

    Args:
      kind: Kind of the fault, such as "box that extends beyond its image, clipped".
      name: Name of the image.
    """
    self._found.setdefault(kind, []).append(name)

  def notes(self) -> tuple[str, ...]:
    """Returns one sentence per kind of fault."""
    return tuple(
      f"{len(names)} x {kind}: {', '.join(dict.fromkeys(names[:3]))}{', ...' if len(names) > 3 else ''}"
      for kind, names in self._found.items()
    )


def clip_annotation(
  name: str,
  path: Path,
  size: tuple[int, int],
  rows: Sequence[tuple[Sequence[float], int, bool, float | None]],
  faults: AnnotationFaults,
) -> AnnotatedImage:
  """Returns an image with boxes clipped to its borders; boxes with no area inside it are omitted.

  Args:
    name: Name of the image in messages.
    path: Image file.
    size: Height and width of the image in pixels.
    rows: For each box, (left, top, right, bottom), the label, whether it is ignored, and the area of the object in
      pixels, or None for the area of the box.
    faults: Record to which faults are added.
  """
  height, width = size
  boxes, labels, ignored, areas = [], [], [], []
  for box, label, crowd, area in rows:
    left, top, right, bottom = box
    clipped = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    if not (clipped[2] > clipped[0] and clipped[3] > clipped[1]):  # also where a number is not finite
      faults.add("box with no area inside its image, omitted", name)
      continue
    if clipped != (left, top, right, bottom):
      faults.add("box that extends beyond its image, clipped", name)
    boxes.append(clipped)
    labels.append(label)
    ignored.append(crowd)
    areas.append((clipped[2] - clipped[0]) * (clipped[3] - clipped[1]) if area is None else area)
  return AnnotatedImage(
    name,
    path,
    height,
    width,
    np.array(boxes, np.float32).reshape(-1, 4),
    np.array(labels, np.int32),
    np.array(ignored, bool),
    np.array(areas, np.float32),
  )


def with_files(images: Iterable[AnnotatedImage], faults: AnnotationFaults) -> tuple[AnnotatedImage, ...]:
  """Returns the images whose files exist; the others are recorded as faults."""
  found = []
  for image in images:
    if image.path.is_file():
      found.append(image)
    else:
      faults.add("image without a file, omitted", image.name)
  return tuple(found)


def with_objects(images: Iterable[AnnotatedImage], faults: AnnotationFaults) -> tuple[AnnotatedImage, ...]:
  """Returns the images with at least one object that is not ignored; the others are recorded as faults."""
  found = []
  for image in images:
    if image.objects:
      found.append(image)
    else:
      faults.add("image without objects, not used in training", image.name)
  return tuple(found)


def build_dataset(
  data: Data,
  form: str,
  classes: Sequence[tuple[int, str]],
  read: Callable[[str, AnnotationFaults], Iterable[AnnotatedImage]],
) -> DetectionDataset:
  """Builds a data set from a reader of its splits.

  The images that are held out for validation are the first ones of a fixed permutation of the training images.

  Args:
    data: Settings of the data set.
    form: Format of the files, "PASCAL VOC" or "COCO".
    classes: Number in the annotation files and name of each class.
    read: Function that returns the images of the split "train" or "test".

  Raises:
    ConfigError: A split has no image with an object that can be used, an image is in both splits, or there are fewer
      training images than are to be held out.
  """
  root = Path(data.path).expanduser()
  faults = AnnotationFaults()
  train = with_objects(with_files(read("train", faults), faults), faults)
  test = with_files(read("test", faults), faults)
  for split, images in (("train", train), ("test", test)):
    if not any(image.objects for image in images):
      why = ": " + "; ".join(faults.notes()) if faults.notes() else ""
      raise ConfigError(f"{root}: no {split} image with an object that is not ignored can be used{why}")
  _check_disjoint(data, train, test)
  if data.validation_images >= len(train):
    raise ConfigError(
      f"data.validation_images = {data.validation_images}: must be 0 to {len(train) - 1}, "
      f"the training set has {len(train)} images with boxes"
    )
  held = set(np.random.RandomState(0).permutation(len(train))[: data.validation_images].tolist())
  sha = hashlib.sha256()
  for image in (*train, *test):
    sha.update(f"{image.name} {image.height} {image.width} {image.path.stat().st_size}\n".encode())
    for array in (image.boxes.astype("<f4"), image.labels.astype("<i4"), image.ignored):
      sha.update(np.ascontiguousarray(array).tobytes())
  return DetectionDataset(
    name=data.name,
    path=str(root),
    form=form,
    class_names=tuple(each for _, each in classes),
    category_ids=tuple(number for number, _ in classes),
    digest=sha.hexdigest(),
    train=tuple(image for i, image in enumerate(train) if i not in held),
    validation=tuple(image for i, image in enumerate(train) if i in held),
    test=test,
    notes=faults.notes(),
  )


def _check_disjoint(data: Data, train: Sequence[AnnotatedImage], test: Sequence[AnnotatedImage]) -> None:
  """Raises ConfigError if an image file is both a training and a test image."""
  shared = {image.path for image in train} & {image.path for image in test}
  if shared:
    first = min(shared)
    raise ConfigError(
      f"data.train_split = {data.train_split!r} and data.test_split = {data.test_split!r}: must have no image in "
      f"common, but {len(shared)} are in both, such as {first.name}; set both, for example to train and val"
    )
