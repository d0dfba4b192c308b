"""Images with annotated boxes, as PASCAL VOC and COCO have them: what the readers return, checked."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from resjax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
  """One image file and its boxes.

  Attributes:
    name: Name in messages and records.
    path: The image file.
    height, width: Pixels, as its annotation has them.
    boxes: float32 [M, 4], (left, top, right, bottom) in pixels, inside the image.
    labels: int32 [M], 1 to the number of classes.
    ignored: bool [M], "difficult" in VOC, "iscrowd" in COCO: neither an object to find nor background.
    areas: float32 [M], pixels that the object covers, by which COCO tells small and large objects.
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
    """Number of boxes to find."""
    return int((~self.ignored).sum())


@dataclasses.dataclass(frozen=True)
class DetectionDataset:
  """A data set with boxes.

  Attributes:
    name: `data.name`.
    path: Where it was read from.
    form: In which of the forms that a data set comes in.
    class_names: Names of the classes; a box with label 1 is of the first.
    category_ids: Numbers of the classes in the annotation files.
    digest: SHA-256 over names, sizes and boxes of all images.
    train, validation, test: The images; those for validation are held out of the training set.
    notes: Remarks for the record of a run.
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
    """Number of classes, background not counted."""
    return len(self.class_names)

  def count(self, split: str) -> int:
    """Returns the number of images of `train`, `val` or `test`."""
    return len({"train": self.train, "val": self.validation, "test": self.test}[split])


class Faults:
  """Faults of annotations that are left out, counted by kind; the first of each kind is named."""

  def __init__(self) -> None:
    self._found: dict[str, list[str]] = {}

  def add(self, kind: str, name: str) -> None:
    """Records a fault of a kind, such as "box without area", of the image `name`."""
    self._found.setdefault(kind, []).append(name)

  def notes(self) -> tuple[str, ...]:
    """Returns one sentence per kind of fault."""
    return tuple(
      f"{len(names)} x {kind}: {', '.join(dict.fromkeys(names[:3]))}{', ...' if len(names) > 3 else ''}"
      for kind, names in self._found.items()
    )


def annotated(
  name: str,
  path: Path,
  size: tuple[int, int],
  rows: Sequence[tuple[Sequence[float], int, bool, float | None]],
  faults: Faults,
) -> AnnotatedImage:
  """Returns a checked image: boxes are cut off at its borders, and those without area are left out.

  Args:
    name: Name of the image in messages.
    path: The image file.
    size: Height and width in pixels.
    rows: (left, top, right, bottom), label, whether it is ignored, and area, or None for the area of the box.
    faults: Where faults are recorded.
  """
  height, width = size
  boxes, labels, ignored, areas = [], [], [], []
  for box, label, crowd, area in rows:
    left, top, right, bottom = box
    clipped = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
    if not (clipped[2] > clipped[0] and clipped[3] > clipped[1]):  # also where a number is not finite
      faults.add("box without area inside of its image, left out", name)
      continue
    if clipped != (left, top, right, bottom):
      faults.add("box that reaches out of its image, cut off", name)
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


def present(images: Iterable[AnnotatedImage], faults: Faults) -> tuple[AnnotatedImage, ...]:
  """Returns the images whose files are there; the others are recorded as faults."""
  found = []
  for image in images:
    if image.path.is_file():
      found.append(image)
    else:
      faults.add("image without a file, left out", image.name)
  return tuple(found)


def with_objects(images: Iterable[AnnotatedImage], faults: Faults) -> tuple[AnnotatedImage, ...]:
  """Returns the images that have an object to train on; the others are recorded as faults."""
  found = []
  for image in images:
    if image.objects:
      found.append(image)
    else:
      faults.add("image without boxes, not trained on", image.name)
  return tuple(found)


def dataset(
  name: str,
  root: Path,
  form: str,
  classes: Sequence[tuple[int, str]],
  read: Callable[[str, Faults], Iterable[AnnotatedImage]],
  validation_images: int,
) -> DetectionDataset:
  """Builds a data set from a reader of its splits.

  Args:
    name: `data.name`.
    root: Folder of the data set.
    form: In which of the forms that a data set comes in.
    classes: Number in the annotation files, and name, of each class.
    read: Returns the images of "train" or "test".
    validation_images: Training images to hold out, the first ones of a fixed permutation.

  Raises:
    ConfigError: No image is left to train or test on.
  """
  faults = Faults()
  train = with_objects(present(read("train", faults), faults), faults)
  test = present(read("test", faults), faults)
  for split, images in (("train", train), ("test", test)):
    if not images:
      raise ConfigError(f"{root}: no {split} image can be used; {'; '.join(faults.notes()) or 'the split is empty'}")
  if validation_images >= len(train):
    raise ConfigError(
      f"data.validation_images = {validation_images}: must be 0 to {len(train) - 1}, "
      f"the training set has {len(train)} images with boxes"
    )
  held = set(np.random.RandomState(0).permutation(len(train))[:validation_images].tolist())
  sha = hashlib.sha256()
  for image in (*train, *test):
    sha.update(f"{image.name} {image.height} {image.width} {image.path.stat().st_size}\n".encode())
    for array in (image.boxes.astype("<f4"), image.labels.astype("<i4"), image.ignored):
      sha.update(np.ascontiguousarray(array).tobytes())
  return DetectionDataset(
    name=name,
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
