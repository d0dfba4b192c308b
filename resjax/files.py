"""Paths of files on disk and in buckets, and atomic writes. Does not use JAX.

In a bucket ("gs://bucket/folder", with the extra `cloud`) a file is an object, which is written atomically and cannot
be appended to.
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
  """Returns the path of an address; in a bucket a path of etils, which has pathlib's methods.

  Raises:
    OSError: The scheme of the address is not supported, or the libraries for buckets are not installed.
  """
  text = os.fspath(address)
  scheme, separator, _ = text.partition("://")
  if not separator:
    return Path(text)
  if not text.startswith(BUCKET):
    raise OSError(f"{text}: unsupported scheme {scheme}://; use a local directory or {BUCKET}BUCKET/FOLDER")
  try:
    import gcsfs  # noqa: F401
    from etils import epath
    from fsspec.config import conf
  except ModuleNotFoundError as error:
    raise OSError(f"{text}: needs {error.name}: install the extra cloud") from error
  logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it also raises the errors that it logs; see `io_errors`
  # A cached listing would hide files that other processes have added since.
  for protocol in ("gs", "gcs"):
    conf.setdefault(protocol, {})["use_listings_cache"] = False
  return cast(Path, epath.Path(text))


def local_path(address: str | os.PathLike[str]) -> Path:
  """Returns the path of an address on a local disk.

  Raises:
    OSError: The address is in a bucket.
  """
  if "://" in os.fspath(address):
    raise OSError(f"{os.fspath(address)}: must be on this machine's disk")
  return Path(address)


def printable(name: str) -> str:
  r"""Returns a file name that can be printed and recorded: each byte that is not UTF-8 is an escape, as in "caf\xe9".

  Python represents such bytes by surrogates, which UTF-8 cannot encode.
  """
  return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def in_bucket(path: Path) -> bool:
  """Returns whether a path is in a bucket."""
  return str(path).startswith(BUCKET)


def io_errors(*others: type[Exception]) -> tuple[type[Exception], ...]:
  """Returns the exceptions that reading and writing files on disk or in a bucket may raise, followed by `others`."""
  if "gcsfs" not in sys.modules:
    return OSError, *others
  from aiohttp import ClientError
  from gcsfs.retry import HttpError
  from google.auth.exceptions import GoogleAuthError

  return OSError, ClientError, HttpError, GoogleAuthError, *others


def read_all(paths: Sequence[Path]) -> list[bytes]:
  """Returns the contents of files, read concurrently because a log in a bucket can consist of many objects."""
  if len(paths) < 2:
    return [path.read_bytes() for path in paths]
  with ThreadPoolExecutor() as pool:
    return list(pool.map(operator.methodcaller("read_bytes"), paths))


def sizes(directory: Path) -> dict[str, int]:
  """Returns the size in bytes of each object directly below a folder of a bucket, by name, with a single request."""
  system, name = _in_its_bucket(directory)
  try:
    found = system.ls(name, detail=True)
  except FileNotFoundError:
    return {}
  return {each["name"].rpartition("/")[2]: each["size"] for each in found if each["type"] == "file"}


def absolute(path: Path) -> Path:
  """Returns the absolute path, on disk or in a bucket."""
  return path if in_bucket(path) else path.absolute()


def create(path: Path, content: bytes) -> None:
  """Writes a new object to a bucket.

  Raises:
    FileExistsError: The object exists with other content. An object with the same content is accepted, because a
      request whose response was lost is sent again.
  """
  system, name = _in_its_bucket(path)
  try:
    system.pipe_file(name, content, mode="create")
  except FileExistsError:
    if system.cat_file(name) != content:
      raise


def write_atomically(path: Path, content: bytes, alone: bool = True) -> None:
  """Replaces a file atomically; the new content is on disk when the call returns.

  Args:
    path: Path of the file, in an existing folder.
    content: New content of the file.
    alone: Whether no other process, on any machine, writes this file. The temporary file then has a fixed name, so that
      one left by a killed process is overwritten the next time.
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
  """Syncs the entries of a directory to disk, except on Windows, which does not support it."""
  if os.name == "nt":
    return
  descriptor = os.open(directory, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _in_its_bucket(path: Path) -> tuple[Any, str]:
  """Returns fsspec's file system of a bucket, and the name of the path in it."""
  from fsspec.core import url_to_fs

  return cast(tuple[Any, str], url_to_fs(str(path)))
