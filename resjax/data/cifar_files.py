"""Files of CIFAR's binary and Python versions, read from a folder or from the archive."""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from resjax.data.cifar_format import Family, Version
from resjax.settings import ConfigError


def read_folder(folder: Path, family: Family, version: Version) -> dict[str, bytes]:
  """Returns the contents of the files of records in a folder, by name without suffix.

  Raises:
    ConfigError: A file is missing, has the wrong size or cannot be read.
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
  """Returns the version of an archive, and the contents of its files of records by name without suffix.

  Raises:
    ConfigError: The archive cannot be read (see `unpack`), or is not one of this data set.
  """
  found = unpack(path, {name: size for version in family.versions for name, size in family.members(version).items()})
  for version in family.versions:
    members = family.members(version)
    if any(member in found for member in members):
      check_complete(path, found, members)
      return version, {file.name: found[member] for file, member in zip(family.files, members, strict=True)}
  folders = " nor ".join(version.folder for version in family.versions)
  raise ConfigError(f"{path}: contains neither {folders}, the folders of {family.title}")


def unpack(path: Path, sizes: Mapping[str, int | None]) -> dict[str, bytes]:
  """Returns the contents of the requested members that a .tar.gz has, by name, without writing to disk.

  The archive is read to its end, where gzip stores its checksum.

  Args:
    path: Path of the archive.
    sizes: Requested members, and the size that each must have in bytes, or None for any size.

  Raises:
    ConfigError: The file is not a .tar.gz or is damaged or truncated, or a member has the wrong size.
  """
  contents = {}
  try:
    with gzip.open(path) as raw:
      with tarfile.open(fileobj=raw, mode="r|") as archive:
        for member in archive:
          name = member.name.removeprefix("./")
          stream = archive.extractfile(member)  # None for folders and for links out of the archive
          if name in sizes and stream is not None:
            _check_size(f"{path}: {name}", member.size, sizes[name])
            contents[name] = stream.read()
      while raw.read(1 << 20):
        pass
  except ConfigError:
    raise
  except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
    raise ConfigError(f"{path}: not a complete .tar.gz ({error})") from None
  return contents


def check_complete(path: Path, contents: Mapping[str, bytes], members: Mapping[str, int | None]) -> None:
  """Raises ConfigError if a member of an archive is missing."""
  missing = [name for name in members if name not in contents]
  if missing:
    raise ConfigError(f"{path}: has no {missing[0]}")


def difference(contents: Mapping[str, bytes], family: Family, version: Version) -> str:
  """Returns a description of the files of records that differ from the published ones; empty if none does."""
  # The published checksums are SHA-1 and MD5. They protect against damage and confusion here, not against attackers.
  changed = [
    version.file(file)
    for file in family.files
    if hashlib.new(version.hash, contents[file.name], usedforsecurity=False).hexdigest() != file.checksums[version.hash]
  ]
  names = {"sha1": "SHA-1", "md5": "MD5"}
  return f"different {names[version.hash]}: {', '.join(changed)}" if changed else ""


def _check_size(file: str, size: int, expected: int | None) -> None:
  """Raises ConfigError if a file does not have the expected size in bytes."""
  if expected is not None and size != expected:
    raise ConfigError(f"{file}: {size:,} bytes, must be {expected:,}")
