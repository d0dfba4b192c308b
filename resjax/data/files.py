"""Images as their files have them: encoded, in an order, read one by one."""

import dataclasses
import typing
from pathlib import Path

import numpy as np


class Unreadable(Exception):
  """An image that cannot be read or decoded; the message is one line that names it and says why."""


@dataclasses.dataclass(frozen=True)
class Encoded:
  """One image file.

  Attributes:
    name: what the record calls it.
    content: its bytes; JPEG, PNG, or broken.
    label: its class.
  """

  name: str
  content: bytes
  label: int


class Files(typing.Protocol):
  """A set of encoded images in a fixed order; small enough to be sent to worker processes."""

  def __len__(self) -> int: ...

  def read(self, index: int) -> Encoded:
    """Returns one image.

    Raises:
      Unreadable: the file cannot be read.
    """

  def take(self, indices: np.ndarray) -> typing.Self:
    """Returns the images at `indices`, int [M], in that order."""


@dataclasses.dataclass(frozen=True)
class FolderFiles:
  """Files below a folder.

  Attributes:
    root: the folder.
    names: paths below it, with forward slashes.
    labels: int32 [N].
  """

  root: Path
  names: tuple[str, ...]
  labels: np.ndarray

  def __len__(self) -> int:
    return len(self.names)

  def read(self, index: int) -> Encoded:
    """Returns one image; see `Files`."""
    name = self.names[index]
    try:
      return Encoded(name, (self.root / name).read_bytes(), int(self.labels[index]))
    except OSError as error:
      raise Unreadable(f"{name}: {error.strerror}") from None

  def take(self, indices: np.ndarray) -> "FolderFiles":
    """Returns the images at `indices`, int [M], in that order."""
    return FolderFiles(self.root, tuple(self.names[i] for i in indices), self.labels[indices])
