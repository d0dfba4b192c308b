"""Where CIFAR is below a path, and in which form: found by looking, without reading an image."""

import dataclasses
import json
from pathlib import Path

from resjax.data.cifar_format import FAMILIES, Family
from resjax.settings import ConfigError

ARCHIVE, PARQUET, TFDS = "archive", "parquet", "tensorflow-datasets"
SPLITS = ("train", "test")
# Where a data set's repository at Hugging Face, or its conversion of one, has the Parquet files of the splits.
PARQUET_FOLDERS = (".", "plain_text", "cifar10", "cifar100", "data", "default")
PARQUET_NAMES = ("{}-*.parquet", "{}.parquet", "{}/*.parquet")
VERSION = "[0-9]*.[0-9]*.[0-9]*"  # the folder of a data set that tensorflow-datasets prepared


@dataclasses.dataclass(frozen=True)
class Found:
  """What was found.

  Attributes:
    form: `ARCHIVE` (of either version), "binary" or "python" (their files), `PARQUET` or `TFDS`.
    path: of the archive, or the folder with the files.
    files: of Parquet the files of each split, in order.
  """

  form: str
  path: Path
  files: dict[str, list[Path]] = dataclasses.field(default_factory=dict)


def find(path: Path, name: str) -> Found:
  """Returns what is at a path or right below it; unpacked files come before archives.

  Args:
    path: of an archive or a folder.
    name: of the data set, "cifar10" or "cifar100".

  Raises:
    ConfigError: there is no such path, or nothing known in it.
  """
  if path.is_file():
    if path.suffix in (".npz", ".parquet"):
      instead = {".npz": "data.name='npz' reads it", ".parquet": "data.path is the folder with those of both splits"}
      raise ConfigError(f"data.path = {str(path)!r}: one {path.suffix} file; {instead[path.suffix]}")
    return Found(ARCHIVE, path)
  if not path.exists():
    raise ConfigError(f"data.path = {str(path)!r}: no such file or folder")
  if found := look(path, name):
    return found
  for other, family in FAMILIES.items():
    if other != name and look(path, other):
      raise ConfigError(f"data.path = {str(path)!r}: is {family.title}; data.name={other} reads it")
  family = FAMILIES[name]
  raise ConfigError(
    f"data.path = {str(path)!r}: holds neither {' nor '.join(_published(family))}, nor Parquet files of "
    f"train and test, nor {name} as tensorflow-datasets prepares it"
  )


def look(folder: Path, name: str) -> Found | None:
  """Returns what a folder is or holds, or None."""
  family = FAMILIES[name]
  for version in family.versions:
    for below in (folder / version.folder, folder):
      if any((below / version.file(file)).is_file() for file in family.files):
        return Found(version.name, below)
  for version in family.versions:
    if (folder / version.archive).is_file():
      return Found(ARCHIVE, folder / version.archive)
  for below in (folder, *sorted(folder.glob(VERSION)), *sorted((folder / name).glob(VERSION))):
    if _prepared(below) == name:
      return Found(TFDS, below)
  for below in (folder / each for each in PARQUET_FOLDERS):
    for pattern in PARQUET_NAMES:
      files = {split: sorted(below.glob(pattern.format(split))) for split in SPLITS}
      if all(files.values()) and _columns_fit(files["train"][0], name):
        return Found(PARQUET, below, files)
  return None


def recognised(path: Path) -> str | None:
  """Returns the name of the data set that an archive, by its name, or a folder is, or None."""
  for name, family in FAMILIES.items():
    archives = [version.archive for version in family.versions]
    if path.name in archives if path.is_file() else look(path, name):
      return name
  return None


def _published(family: Family) -> list[str]:
  return [name for version in family.versions for name in (version.archive, version.folder)]


def _prepared(folder: Path) -> str | None:
  """Returns the name of the data set that tensorflow-datasets prepared in a folder, or None."""
  try:
    return json.loads((folder / "dataset_info.json").read_text())["name"]
  except (OSError, ValueError, KeyError, TypeError):
    return None


def _columns_fit(file: Path, name: str) -> bool:
  """Whether the labels of a Parquet file are those of the data set: CIFAR-100 has fine ones beside coarse ones."""
  from resjax.data import cifar_parquet  # needs pyarrow

  return ("fine_label" in cifar_parquet.columns(file)) == (name == "cifar100")
