"""Files on disk or in a bucket: the path that an address names, and a file written whole. No JAX.

In a bucket ("gs://bucket/folder", with the extra `cloud`) a file is an object: it appears whole or not at all, and
cannot be appended to.
"""

import os
from pathlib import Path
from typing import Any, cast

BUCKET = "gs://"


def place(address: str | os.PathLike[str]) -> Path:
  """Returns the path of an address; in a bucket it is etils' path, which has pathlib's methods.

  Raises:
    OSError: an address of another kind, or what reads buckets is not installed.
  """
  text = os.fspath(address)
  scheme, separator, _ = text.partition("://")
  if not separator:
    return Path(text)
  if not text.startswith(BUCKET):
    raise OSError(f"{text}: {scheme}:// is not known; a directory, or {BUCKET}BUCKET/FOLDER")
  try:
    import gcsfs  # noqa: F401
    from etils import epath
    from fsspec.config import conf
  except ModuleNotFoundError as error:
    raise OSError(f"{text}: needs {error.name}: install the extra cloud") from error
  # Without this a listing that was read once hides what other writers, or another reader here, have added since.
  for protocol in ("gs", "gcs"):
    conf.setdefault(protocol, {})["use_listings_cache"] = False
  return cast(Path, epath.Path(text))


def in_bucket(path: Path) -> bool:
  """Whether a path is in a bucket."""
  return str(path).startswith(BUCKET)


def absolute(path: Path) -> Path:
  """Returns a path that does not depend on the current directory."""
  return path if in_bucket(path) else path.absolute()


def create(path: Path, content: bytes) -> None:
  """Writes an object that must not be there yet, in a bucket.

  Raises:
    FileExistsError: it is there.
  """
  from fsspec.core import url_to_fs

  system, name = cast(tuple[Any, str], url_to_fs(str(path)))
  system.pipe_file(name, content, mode="create")


def replace(path: Path, content: bytes, alone: bool = True) -> None:
  """Writes a file whole. A kill at any moment leaves the old content or the new; the new is on disk after the call.

  Args:
    path: in a folder that is there.
    content: what the file shall hold.
    alone: no other process writes this file. The unfinished one has a fixed name then, so that what a kill leaves is
      overwritten next time.
  """
  if in_bucket(path):
    path.write_bytes(content)
    return
  temporary = path.with_name(f".{path.name}.tmp" if alone else f".{path.name}.{os.getpid()}.tmp")
  with temporary.open("wb") as file:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
  temporary.replace(path)
  sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
  """Returns when the names in a directory are on disk."""
  descriptor = os.open(directory, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)
