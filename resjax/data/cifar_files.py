"""The files of CIFAR's binary and Python version, from a folder or straight from the archive."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from resjax.data.cifar_format import Family, Version
from resjax.settings import ConfigError


def read_folder(folder: Path, family: Family, version: Version) -> dict[str, bytes]:
  """Returns what the files of records in a folder hold, by name without suffix.

  Raises:
    ConfigError: a file is missing, has the wrong size or cannot be read.
  """
  contents = {}
  for file, size in zip(family.files, family.members(version).values(), strict=True):
    path = folder / version.file(file)
    if not path.is_file():
      raise ConfigError(f"{path}: missing")
    try:
      _check_size(str(path), path.stat().st_size, size)
      contents[file.name] = path.read_bytes()
    except OSError as error:
      raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
  return contents


def read_archive(path: Path, family: Family) -> tuple[Version, dict[str, bytes]]:
  """Returns which version an archive is, and what its files of records hold, by name without suffix.

  Raises:
    ConfigError: as `unpack`, or it is no archive of this data set.
  """
  found = unpack(path, {name: size for version in family.versions for name, size in family.members(version).items()})
  for version in family.versions:
    members = family.members(version)
    if any(member in found for member in members):
      check_complete(path, found, members)
      return version, {file.name: found[member] for file, member in zip(family.files, members, strict=True)}
  folders = " nor ".join(version.folder for version in family.versions)
  raise ConfigError(f"{path}: holds neither {folders}, the folders of {family.title}")


def unpack(path: Path, sizes: Mapping[str, int | None]) -> dict[str, bytes]:
  """Returns the bytes of those members of a .tar.gz that are there, by name. Nothing is written to disk.

  The archive is read to its end, where gzip keeps its own checksum.

  Args:
    path: the archive.
    sizes: the members wanted, and the bytes each must have; None for any.

  Raises:
    ConfigError: it is not a .tar.gz, is damaged or cut short, or a member has the wrong size.
  """
  contents = {}
  try:
    with gzip.open(path) as raw:
      with tarfile.open(fileobj=raw, mode="r|") as archive:
        for member in archive:
          name = member.name.removeprefix("./")
          stream = archive.extractfile(member)  # none for folders and links out of the archive
          if name in sizes and stream is not None:
            _check_size(f"{path}: {name}", member.size, sizes[name])
            contents[name] = stream.read()
      while raw.read(1 << 20):
        pass
  except ConfigError:
    raise
  except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
    raise ConfigError(f"{path}: not a whole .tar.gz ({error})") from None
  return contents


def check_complete(path: Path, contents: Mapping[str, bytes], members: Mapping[str, int | None]) -> None:
  """Raises ConfigError if a member of an archive is missing."""
  missing = [name for name in members if name not in contents]
  if missing:
    raise ConfigError(f"{path}: has no {missing[0]}")


def difference(contents: Mapping[str, bytes], family: Family, version: Version) -> str:
  """Returns which files of records are not the published ones, or nothing."""
  # SHA-1 and MD5 are what is published; they are used against damage and mix-ups here, not against an attacker.
  changed = [
    version.file(file)
    for file in family.files
    if hashlib.new(version.hash, contents[file.name], usedforsecurity=False).hexdigest() != file.checksums[version.hash]
  ]
  names = {"sha1": "SHA-1", "md5": "MD5"}
  return f"other {names[version.hash]}: {', '.join(changed)}" if changed else ""


def _check_size(file: str, size: int, expected: int | None) -> None:
  """Raises ConfigError if a file has not the bytes it must have."""
  if expected is not None and size != expected:
    raise ConfigError(f"{file}: {size:,} bytes, must be {expected:,}")
