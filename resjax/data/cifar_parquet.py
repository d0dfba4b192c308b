"""CIFAR in Hugging Face's Parquet files: PNG images in column `img` or `image`, classes in `label` or `fine_label`."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from resjax.data.cifar_detection import PARQUET
from resjax.data.cifar_format import SHAPE, Family
from resjax.data.cifar_png import decode
from resjax.data.dataset import Images, Source
from resjax.settings import ConfigError

IMAGES = ("img", "image")
LABELS = {"cifar10": ("label",), "cifar100": ("fine_label", "label")}
NOTE = "no checksums are published of its Parquet files; the number of images, their size and the labels were checked"


def columns(file: Path) -> list[str]:
  """Returns the column names of a file.

  Raises:
    ConfigError: The file is damaged or not a Parquet file.
  """
  try:
    return pq.read_schema(file).names
  except (OSError, pa.ArrowException) as error:
    raise _damaged(file, error) from None


def load(files: dict[str, list[Path]], name: str, family: Family, path: Path) -> Source:
  """Reads all images in the order of the files.

  Args:
    files: Files of each split, in order.
    name: Name of the data set, a key of `LABELS`.
    family: The data set.
    path: Folder of the files.

  Raises:
    ConfigError: A file is damaged or lacks a column, or the number of images is wrong.
  """
  train, test = (_read(files[split], split, name, family) for split in ("train", "test"))
  return Source(train, test, family.labels["label"], str(path), PARQUET, (f"{path}: {NOTE}",))


def _read(files: list[Path], split: str, name: str, family: Family) -> Images:
  count, classes = family.images(split), family.labels["label"]
  tables = [_table(file, name) for file in files]
  rows = sum(table.num_rows for table in tables)
  if rows != count:
    raise ConfigError(f"{files[0].parent}: {rows:,} images in {split}, must be {count:,}")
  images, labels = np.empty((count, *SHAPE), np.uint8), np.empty(count, np.int32)
  index = 0
  for file, table in zip(files, tables, strict=True):
    for row, (content, label) in enumerate(zip(table["image"], table["label"], strict=True)):
      try:
        images[index] = decode(content.as_py())
      # Damaged PNG files raise any of these; a value that is not bytes raises TypeError.
      except (OSError, ValueError, SyntaxError, TypeError) as error:
        raise ConfigError(f"{file}: row {row}: {' '.join(str(error).split())}") from None
      number = label.as_py()
      if number is None or not 0 <= number < classes:
        raise ConfigError(f"{file}: row {row} has label {number}, must be 0 to {classes - 1}")
      labels[index] = number
      index += 1
  return Images(images, labels)


def _table(file: Path, name: str) -> pa.Table:
  """Returns a file's columns as a table of `image`, binary, and `label`, integer."""
  names = columns(file)
  image, label = _column(names, IMAGES, file), _column(names, LABELS[name], file)
  try:
    table = pq.read_table(file, columns=[image, label])
  except (OSError, pa.ArrowException) as error:
    raise _damaged(file, error) from None
  kinds = table.schema.field(image).type, table.schema.field(label).type
  if not pa.types.is_struct(kinds[0]) or kinds[0].get_field_index("bytes") < 0:
    raise ConfigError(f"{file}: column {image} is {kinds[0]}, must be a struct whose `bytes` are PNG files")
  if not pa.types.is_integer(kinds[1]):
    raise ConfigError(f"{file}: column {label} is {kinds[1]}, must be integers")
  return pa.table({"image": pc.struct_field(table[image], "bytes"), "label": table[label]})


def _column(names: list[str], wanted: tuple[str, ...], file: Path) -> str:
  for name in wanted:
    if name in names:
      return name
  raise ConfigError(f"{file}: has no column {' or '.join(wanted)}; it has {', '.join(names)}")


def _damaged(file: Path, error: Exception) -> ConfigError:
  return ConfigError(f"{file}: damaged, or not a Parquet file ({' '.join(str(error).split())[:200]})")
