"""Files on disk or in a bucket: the path that an address names, and a file written whole. No JAX.

In a bucket ("gs://bucket/folder", with the extra `cloud`) a file is an object: it appears whole or not at all, and
cannot be appended to.
"""

import logging
import operator
import os
import sys
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

BUCKET = "gs://"


def as_path(address: str | os.PathLike[str]) -> Path:
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
  logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # what it cannot do it raises, too; see `io_errors`
  # Without this a listing that was read once hides what other writers, or another reader here, have added since.
  for protocol in ("gs", "gcs"):
    conf.setdefault(protocol, {})["use_listings_cache"] = False
  return cast(Path, epath.Path(text))


def local_path(address: str | os.PathLike[str]) -> Path:
  """Returns the path of an address on this machine.

  Raises:
    OSError: it is in a bucket.
  """
  if "://" in os.fspath(address):
    raise OSError(f"{os.fspath(address)}: must be on this machine's disk")
  return Path(address)


def in_bucket(path: Path) -> bool:
  """Whether a path is in a bucket."""
  return str(path).startswith(BUCKET)


def io_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
  """Returns what may be raised where files on disk or in a bucket are read and written, and `others`."""
  if "gcsfs" not in sys.modules:
    return OSError, *others
  from aiohttp import ClientError
  from gcsfs.retry import HttpError
  from google.auth.exceptions import GoogleAuthError

  return OSError, ClientError, HttpError, GoogleAuthError, *others


def read_all(paths: Sequence[Path]) -> list[bytes]:
  """Returns what files hold, read side by side: a log in a bucket can be many parts, and each is a request."""
  if len(paths) < 2:
    return [path.read_bytes() for path in paths]
  with ThreadPoolExecutor() as pool:
    return list(pool.map(operator.methodcaller("read_bytes"), paths))


def sizes(directory: Path) -> dict[str, int]:
  """Returns the size in bytes of each object right below a folder of a bucket, by its name: one request for all."""
  system, name = _in_its_bucket(directory)
  try:
    found = system.ls(name, detail=True)
  except FileNotFoundError:
    return {}
  return {each["name"].rpartition("/")[2]: each["size"] for each in found if each["type"] == "file"}


def absolute(path: Path) -> Path:
  """Returns a path that does not depend on the current directory."""
  return path if in_bucket(path) else path.absolute()


def create(path: Path, content: bytes) -> None:
  """Writes an object that must not be there yet, in a bucket.

  Raises:
    FileExistsError: it is there, with other content: what is there with this one was written by a request whose answer
      was lost, and which was then sent again.
  """
  system, name = _in_its_bucket(path)
  try:
    system.pipe_file(name, content, mode="create")
  except FileExistsError:
    if system.cat_file(name) != content:
      raise


def write_atomically(path: Path, content: bytes, alone: bool = True) -> None:
  """Writes a file whole. A kill at any moment leaves the old content or the new; the new is on disk after the call.

  Args:
    path: in a folder that is there.
    content: what the file shall hold.
    alone: no other process, here or on another machine, writes this file. The unfinished one has a fixed name then, so
      that what a kill leaves is overwritten next time.
  """
  if in_bucket(path):
    path.write_bytes(content)
    return
  temporary = path.with_name(f".{path.name}.tmp" if alone else f".{path.name}.{uuid.uuid4().hex}.tmp")
  with temporary.open("wb") as file:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())
  temporary.replace(path)
  sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
  """Returns when the names in a directory are on disk; Windows, where reports may be built, cannot be asked."""
  if os.name == "nt":
    return
  descriptor = os.open(directory, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _in_its_bucket(path: Path) -> tuple[Any, str]:
  """Returns fsspec's file system of a bucket, and the path's name there."""
  from fsspec.core import url_to_fs

  return cast(tuple[Any, str], url_to_fs(str(path)))
