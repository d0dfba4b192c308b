"""Detection of the location and form of CIFAR below a path, without reading images."""

import dataclasses
import json
from pathlib import Path

from resjax.data.cifar_format import FAMILIES, Family
from resjax.settings import ConfigError

ARCHIVE, PARQUET, TFDS = "archive", "parquet", "tensorflow-datasets"
SPLITS = ("train", "test")
# Folders and file names of the splits' Parquet files in Hugging Face's repositories and their automatic conversions.
PARQUET_FOLDERS = (".", "plain_text", "cifar10", "cifar100", "data", "default")
PARQUET_NAMES = ("{}-*.parquet", "{}.parquet", "{}/*.parquet")
VERSION = "[0-9]*.[0-9]*.[0-9]*"  # name of the folder in which tensorflow-datasets prepares a version of a data set


@dataclasses.dataclass(frozen=True)
class DatasetLocation:
  """Location and form of a data set.

  Attributes:
    form: `ARCHIVE` for an archive of either version, "binary" or "python" for unpacked files, `PARQUET` or `TFDS`.
    path: Path of the archive, or of the folder with the files.
    files: Parquet files of each split, in order; empty for other forms.
  """

  form: str
  path: Path
  files: dict[str, list[Path]] = dataclasses.field(default_factory=dict)


def find(path: Path, name: str) -> DatasetLocation:
  """Finds a data set at a path or directly below it; unpacked files take precedence over archives.

  Args:
    path: Path of an archive or a folder.
    name: Name of the data set, "cifar10" or "cifar100".

  Raises:
    ConfigError: The path does not exist, or contains no known form of the data set.
  """
  if path.is_file():
    if path.suffix in (".npz", ".parquet"):
      instead = {".npz": "use data.name=npz", ".parquet": "data.path must be the folder with the files of both splits"}
      raise ConfigError(f"data.path = {str(path)!r}: a single {path.suffix} file; {instead[path.suffix]}")
    return DatasetLocation(ARCHIVE, path)
  if not path.exists():
    raise ConfigError(f"data.path = {str(path)!r}: no such file or folder")
  if found := look(path, name):
    return found
  for other, family in FAMILIES.items():
    if other != name and look(path, other):
      raise ConfigError(f"data.path = {str(path)!r}: contains {family.title}; use data.name={other}")
  family = FAMILIES[name]
  raise ConfigError(
    f"data.path = {str(path)!r}: contains neither {' nor '.join(_published(family))}, nor Parquet files of "
    f"train and test, nor {name} as tensorflow-datasets prepares it"
  )


def look(folder: Path, name: str) -> DatasetLocation | None:
  """Returns the data set that a folder is or contains, or None."""
  family = FAMILIES[name]
  for version in family.versions:
    for below in (folder / version.folder, folder):
      if any((below / version.file(file)).is_file() for file in family.files):
        return DatasetLocation(version.name, below)
  for version in family.versions:
    if (folder / version.archive).is_file():
      return DatasetLocation(ARCHIVE, folder / version.archive)
  for below in (folder, *sorted(folder.glob(VERSION)), *sorted((folder / name).glob(VERSION))):
    if _prepared(below) == name:
      return DatasetLocation(TFDS, below)
  for below in (folder / each for each in PARQUET_FOLDERS):
    for pattern in PARQUET_NAMES:
      files = {split: sorted(below.glob(pattern.format(split))) for split in SPLITS}
      if all(files.values()) and _columns_fit(files["train"][0], name):
        return DatasetLocation(PARQUET, below, files)
  return None


def detect_name(path: Path) -> str | None:
  """Returns the name of the data set of a folder, or of an archive by its file name, or None if it is neither."""
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
  """Returns whether a Parquet file has the label columns of the data set: only CIFAR-100 has fine and coarse labels."""
  from resjax.data import cifar_parquet  # needs pyarrow

  return ("fine_label" in cifar_parquet.columns(file)) == (name == "cifar100")
