"""Sets of encoded image files, read one at a time."""

import dataclasses
import typing
from pathlib import Path

import numpy as np

from resjax import files


class Unreadable(Exception):
  """An image cannot be read or decoded; the message is one line that names the image and the reason."""


@dataclasses.dataclass(frozen=True)
class Encoded:
  """One encoded image.

  Attributes:
    name: Name used in records and messages.
    content: Bytes of the file, JPEG or PNG, possibly damaged.
    label: Class of the image.
  """

  name: str
  content: bytes
  label: int


class Files(typing.Protocol):
  """A set of encoded images in a fixed order, which can be pickled cheaply for worker processes."""

  def __len__(self) -> int: ...

  def read(self, index: int) -> Encoded:
    """Returns the image at an index.

    Raises:
      Unreadable: The file cannot be read.
    """

  def take(self, indices: np.ndarray) -> typing.Self:
    """Returns the images at `indices`, int [M], in that order."""


@dataclasses.dataclass(frozen=True)
class FolderFiles:
  """Image files below a folder.

  Attributes:
    root: Path of the folder.
    names: Paths relative to the folder, with forward slashes.
    labels: Labels, int32 [N].
  """

  root: Path
  names: tuple[str, ...]
  labels: np.ndarray

  def __len__(self) -> int:
    return len(self.names)

  def read(self, index: int) -> Encoded:
    """Returns the image at an index; see `Files.read`."""
    name = self.names[index]
    shown = files.printable(name)
    try:
      return Encoded(shown, (self.root / name).read_bytes(), int(self.labels[index]))
    except OSError as error:
      raise Unreadable(f"{shown}: {error.strerror}") from None

  def take(self, indices: np.ndarray) -> "FolderFiles":
    """Returns the images at `indices`, int [M], in that order."""
    return FolderFiles(self.root, tuple(self.names[i] for i in indices), self.labels[indices])
