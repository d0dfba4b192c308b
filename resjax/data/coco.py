"""Reader of COCO: annotations/instances_SPLIT.json, and a folder SPLIT of images."""

import itertools
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
  """Reads the annotations of a data set; its classes are the categories of its files, by number.

  Args:
    data: Settings of the data set.

  Raises:
    ConfigError: A folder or a file is missing or damaged, the categories of the files differ, a box has an unknown
      category or image, or an image is in both splits.
  """
  root = Path(data.path).expanduser()
  if not data.path:
    raise ConfigError("data.path is empty: data.name = 'coco' needs a folder with annotations/instances_*.json")
  if not root.is_dir():
    raise ConfigError(f"data.path = {data.path!r}: no such folder")
  files = {split: _file(data, root, split) for split in FILE_PREFIXES}
  contents = {split: _contents(path) for split, path in files.items()}
  categories = {split: _categories(files[split], contents[split]) for split in files}
  classes = categories["train"]
  for one, other in itertools.zip_longest(classes, categories["test"]):
    if one != other:
      raise ConfigError(
        f"{files['train']} and {files['test']}: must have the same categories, but differ in {_described(one)} against "
        f"{_described(other)}"
      )
  numbers = {number: place for place, (number, _) in enumerate(classes, 1)}

  def read(split: str, faults: AnnotationFaults) -> Iterator[AnnotatedImage]:
    return _images(root, files[split], contents[split], numbers, faults)

  return build_dataset(data, "COCO", classes, read)


def _file(data: Data, root: Path, split: str) -> Path:
  """Returns the annotation file of a split."""
  given = {"train": data.train_split, "test": data.test_split}[split]
  folder = root / "annotations"
  if given:
    path = folder / f"instances_{given}.json"
    if not path.is_file():
      there = ", ".join(each.name for each in sorted(folder.glob("instances_*.json"))) or "no instances_*.json"
      raise ConfigError(f"data.{split}_split = {given!r}: no such file: {path}; the folder has {there}")
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
  for key in ("images", "annotations", "categories"):
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
      raise ConfigError(
        f"{path}: has no list {key!r}; must be a COCO instances file, such as annotations/instances_train2017.json"
      )
  return content


def _categories(path: Path, content: dict[str, list[Any]]) -> list[tuple[int, str]]:
  """Returns number and name of each category of an annotation file, by number."""
  try:
    found = sorted((int(each["id"]), str(each["name"])) for each in content["categories"])
  except (LookupError, TypeError, ValueError, OverflowError) as error:
    raise ConfigError(f"{path}: each category must have an id and a name ({type(error).__name__}: {error})") from None
  for (number, name), (next_number, next_name) in itertools.pairwise(found):
    if number == next_number:
      raise ConfigError(f"{path}: categories {name!r} and {next_name!r} have the same id {number}")
  return found


def _described(category: tuple[int, str] | None) -> str:
  return "no category" if category is None else f"category {category[0]} {category[1]!r}"


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
      height, width = int(image["height"]), int(image["width"])
      if height <= 0 or width <= 0:
        raise ConfigError(f"{path}: image {name}: size = {height} x {width}: height and width must be positive")
      yield clip_annotation(name, folder / name, (height, width), rows[number], faults)
  except (LookupError, TypeError, ValueError, OverflowError) as error:
    if isinstance(error, ConfigError):
      raise
    raise ConfigError(f"{path}: must be in the format of COCO ({type(error).__name__}: {error})") from None
