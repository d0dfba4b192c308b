"""Reader of COCO: annotations/instances_SPLIT.json, and a folder SPLIT of images."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resjax.config import Data
from resjax.data.annotated_images import (
  AnnotatedImage,
  AnnotationFaults,
  DetectionDataset,
  build_dataset,
  clip_annotation,
)
from resjax.settings import ConfigError

FILE_PREFIXES = {"train": "instances_train", "test": "instances_val"}


def load(data: Data) -> DetectionDataset:
  """Reads the annotations of a data set; its classes are the categories of the training annotations, by number.

  Args:
    data: Settings of the data set.

  Raises:
    ConfigError: A folder or a file is missing or damaged, or a box has an unknown category or image.
  """
  root = Path(data.path).expanduser()
  if not data.path:
    raise ConfigError("data.path is empty: data.name = 'coco' needs a folder with annotations/instances_*.json")
  if not root.is_dir():
    raise ConfigError(f"data.path = {data.path!r}: no such folder")
  files = {split: _file(data, root, split) for split in FILE_PREFIXES}
  contents = {split: _contents(path) for split, path in files.items()}
  classes = sorted((int(each["id"]), str(each["name"])) for each in contents["train"]["categories"])
  numbers = {number: place for place, (number, _) in enumerate(classes, 1)}

  def read(split: str, faults: AnnotationFaults) -> Iterator[AnnotatedImage]:
    return _images(root, files[split], contents[split], numbers, faults)

  return build_dataset(data.name, root, "COCO", classes, read, data.validation_images)


def _file(data: Data, root: Path, split: str) -> Path:
  """Returns the annotation file of a split."""
  given = {"train": data.train_split, "test": data.test_split}[split]
  folder = root / "annotations"
  if given:
    path = folder / f"instances_{given}.json"
    if not path.is_file():
      raise ConfigError(f"data.{split}_split = {given!r}: no such file: {path}")
    return path
  found = sorted(folder.glob(f"{FILE_PREFIXES[split]}*.json"))
  if len(found) != 1:
    names = ", ".join(path.name for path in found) or "none"
    raise ConfigError(
      f"{folder}: must contain one file {FILE_PREFIXES[split]}*.json, but has {names}; set data.{split}_split"
    )
  return found[0]


def _contents(path: Path) -> dict[str, list[Any]]:
  """Returns the content of an annotation file."""
  try:
    content = json.loads(path.read_bytes())
  except OSError as error:
    raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
  except ValueError as error:
    raise ConfigError(f"{path}: is not JSON ({error})") from None
  missing = [key for key in ("images", "annotations", "categories") if not isinstance(content.get(key), list)]
  if missing:
    raise ConfigError(f"{path}: must have the list {missing[0]!r}, as the instances of COCO")
  return content


def _images(
  root: Path, path: Path, content: dict[str, list[Any]], numbers: dict[int, int], faults: AnnotationFaults
) -> Iterator[AnnotatedImage]:
  """Yields the images of an annotation file in its order."""
  folder = root / path.stem.removeprefix("instances_")
  try:
    images = {each["id"]: each for each in content["images"]}
    rows: dict[Any, list[Any]] = {number: [] for number in images}
    for each in content["annotations"]:
      if each["image_id"] not in rows:
        raise ConfigError(f"{path}: annotation {each['id']} is of image {each['image_id']}, which is not in the file")
      if each["category_id"] not in numbers:
        raise ConfigError(f"{path}: annotation {each['id']} has the unknown category {each['category_id']}")
      left, top, width, height = map(float, each["bbox"])
      box = (left, top, left + width, top + height)
      area = None if each.get("area") is None else float(each["area"])
      rows[each["image_id"]].append((box, numbers[each["category_id"]], bool(each.get("iscrowd")), area))
    for number, image in images.items():
      name = str(image["file_name"])
      yield clip_annotation(name, folder / name, (int(image["height"]), int(image["width"])), rows[number], faults)
  except (KeyError, TypeError, ValueError) as error:
    if isinstance(error, ConfigError):
      raise
    raise ConfigError(f"{path}: must be in the format of COCO ({type(error).__name__}: {error})") from None
