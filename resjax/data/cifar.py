"""CIFAR-10 and CIFAR-100: where to look for them, and what is accepted.

Images keep the order of the published files, whichever way they come: through tensorflow-datasets (`cifar_tfds`) or
straight from local files. So the same images give the same digest and the same runs.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from resjax.config import Data
from resjax.data.cifar_format import FAMILIES, SHAPE, Family, check_size, parse, unpack
from resjax.data.dataset import Description, Source
from resjax.settings import ConfigError


def describe(data: Data) -> Description:
  """Describes the set; see `resjax.data.describe`."""
  family = FAMILIES[data.name]
  return Description(SHAPE, family.labels["label"], family.images("train"), family.images("test"))


def load(data: Data) -> Source:
  """Reads CIFAR from where `data.path` points, or downloads it.

  The published archive, local or downloaded, goes through tensorflow-datasets. Unpacked files, and an archive that is
  not the published one but allowed by `data.checksum`, are read directly.

  Raises:
    ConfigError: nothing is found, a file is not the published one, or not what it should be.
  """
  family = FAMILIES[data.name]
  found = find(Path(data.path).expanduser(), family) if data.path else None
  if found is not None and found.is_dir():
    contents = read_folder(found, family)
    difference = folder_difference(contents, family)
    check_accepted(found, difference, data)
  else:
    from resjax.data import cifar_tfds  # slow to import, and needed for archives alone

    difference = cifar_tfds.archive_difference(found, family) if found else ""
    if found is None or not difference:
      return cifar_tfds.load(data.name, family, found)
    check_accepted(found, difference, data)
    contents = unpack(found, family.members)
  notes = (f"{found}: not the published files ({difference}), accepted by data.checksum=any",) if difference else ()
  return parse(contents, family, str(found), notes)


def find(path: Path, family: Family) -> Path:
  """Returns the folder with the .bin files, or else the archive, that `path` is or holds.

  Raises:
    ConfigError: there is neither.
  """
  if path.is_file():
    return path
  if not path.exists():
    raise ConfigError(f"data.path = {str(path)!r}: no such file or folder")
  for folder in (path / family.folder, path):
    if any((folder / file.name).exists() for file in family.files):
      return folder
  if (path / family.archive).is_file():
    return path / family.archive
  raise ConfigError(f"data.path = {str(path)!r}: holds neither {family.archive} nor {family.folder}")


def check_accepted(found: Path, difference: str, data: Data) -> None:
  """Raises ConfigError if what was found differs from the published files and `data.checksum` wants those."""
  if difference and data.checksum == "published":
    raise ConfigError(f"{found}: not the published files ({difference}); to use them all the same: data.checksum=any")


def read_folder(folder: Path, family: Family) -> dict[str, bytes]:
  """Returns the bytes of the files of records, by their name within the archive.

  Raises:
    ConfigError: a file is missing, has the wrong size or cannot be read.
  """
  contents = {}
  for name, size in family.members.items():
    path = folder / Path(name).name
    if not path.is_file():
      raise ConfigError(f"{path}: missing")
    try:
      check_size(str(path), path.stat().st_size, size)
      contents[name] = path.read_bytes()
    except OSError as error:
      raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
  return contents


def folder_difference(contents: Mapping[str, bytes], family: Family) -> str:
  """Returns which files of records are not the published ones, or nothing."""
  # SHA-1 is what is published; it is used against damage and mix-ups here, not against an attacker.
  pairs = zip(family.files, family.members, strict=True)
  changed = [file.name for file, name in pairs if hashlib.sha1(contents[name]).hexdigest() != file.sha1]
  return f"other SHA-1: {', '.join(changed)}" if changed else ""
