"""Data sets in memory or in image files, their descriptions, and the split into training and validation images."""

import dataclasses
import hashlib
from typing import TypeVar

import numpy as np

from resjax.data.files import Files
from resjax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class Description:
  """Properties of a data set that are known without reading its images.

  Attributes:
    image_shape: Height and width in pixels, and number of channels.
    classes: Number of classes; labels are 0 to `classes` - 1.
    train_images: Number of training images, without those held out for validation.
    test_images: Number of test images.
  """

  image_shape: tuple[int, int, int]
  classes: int
  train_images: int
  test_images: int


@dataclasses.dataclass(frozen=True)
class Images:
  """A set of images in the order of its files.

  Attributes:
    images: Images, uint8 [N, H, W, C].
    labels: Labels, int32 [N].
  """

  images: np.ndarray
  labels: np.ndarray

  def __len__(self) -> int:
    return len(self.labels)

  def take(self, indices: np.ndarray) -> "Images":
    """Returns the images at `indices`, int [M], in that order."""
    return Images(self.images[indices], self.labels[indices])


Set = TypeVar("Set", Images, Files)


@dataclasses.dataclass(frozen=True)
class Source:
  """A data set as its files provide it, before the validation images are held out.

  Attributes:
    train: Training set.
    test: Test set.
    classes: Number of classes.
    path: Path it was read from; empty if it is part of a package.
    form: Storage format, such as "binary" or "npz".
    notes: Sentences for the record of a run.
    skipped: Error message of each image that could not be decoded and was left out.
    class_names: Names of the classes in the order of the labels; empty if they are not known.
  """

  train: Images
  test: Images
  classes: int
  path: str
  form: str
  notes: tuple[str, ...] = ()
  skipped: tuple[str, ...] = ()
  class_names: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A data set in memory.

  Attributes:
    name: Name of the data set, `data.name`.
    path: Path it was read from; empty if it is part of a package.
    form: Storage format, such as "binary" or "npz".
    classes: Number of classes.
    digest: SHA-256 over the shapes and bytes of all images and labels; independent of the number held out.
    train_images: Training images without those held out, uint8 [N, H, W, C].
    train_labels: Training labels, int32 [N].
    validation_images: Images held out of the training set, uint8 [V, H, W, C]; V may be 0.
    validation_labels: Validation labels, int32 [V].
    test_images: Test images, uint8 [T, H, W, C].
    test_labels: Test labels, int32 [T].
    notes: Sentences for the record of a run.
    skipped: Error message of each image that could not be decoded and was left out.
    class_names: Names of the classes in the order of the labels; empty if they are not known.
  """

  name: str
  path: str
  form: str
  classes: int
  digest: str
  train_images: np.ndarray
  train_labels: np.ndarray
  validation_images: np.ndarray
  validation_labels: np.ndarray
  test_images: np.ndarray
  test_labels: np.ndarray
  notes: tuple[str, ...]
  skipped: tuple[str, ...]
  class_names: tuple[str, ...] = ()

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height and width in pixels, and number of channels."""
    return self.train_images.shape[1:]

  def count(self, split: str) -> int:
    """Returns the number of images of a split: `train`, `val` or `test`."""
    return len({"train": self.train_labels, "val": self.validation_labels, "test": self.test_labels}[split])


@dataclasses.dataclass(frozen=True)
class FileDataset:
  """A data set whose images are decoded in every epoch.

  Attributes:
    name: Name of the data set, `data.name`.
    path: Path it is read from.
    form: Storage format, such as "image files".
    classes: Number of classes.
    digest: SHA-256 over names, sizes in bytes and labels of all files; independent of the number held out.
    image_shape: Height and width in pixels, and number of channels, of the network's input.
    train: Training images without those held out.
    validation: Images held out of the training set; may be empty.
    test: Test images.
    notes: Sentences for the record of a run.
    class_names: Names of the classes in the order of the labels; empty if they are not known.
  """

  name: str
  path: str
  form: str
  classes: int
  digest: str
  image_shape: tuple[int, int, int]
  train: Files
  validation: Files
  test: Files
  notes: tuple[str, ...]
  class_names: tuple[str, ...] = ()

  def count(self, split: str) -> int:
    """Returns the number of images of a split: `train`, `val` or `test`."""
    return len({"train": self.train, "val": self.validation, "test": self.test}[split])


def remaining(train_images: int, validation_images: int) -> int:
  """Returns the number of training images after holding out `validation_images`.

  Raises:
    ConfigError: No training image would remain.
  """
  if validation_images >= train_images:
    raise ConfigError(
      f"data.validation_images = {validation_images}: must be 0 to {train_images - 1}, "
      f"the training set has {train_images} images"
    )
  return train_images - validation_images


def hold_out(train: Set, count: int) -> tuple[Set, Set]:
  """Splits a training set into training images and `count` validation images (Sec. 4.2: 45k and 5k).

  The validation images are the first `count` of a fixed permutation, which depends on the size of the set only. Classes
  are therefore represented about equally, and a smaller validation set is part of a larger one. Both parts keep the
  order of the files.

  Raises:
    ConfigError: No training image would remain.
  """
  total = len(train)
  remaining(total, count)
  if count == 0:
    return train, train.take(np.empty(0, np.int64))
  # numpy guarantees the stream of RandomState; that of a Generator may change with a release.
  held = np.zeros(total, bool)
  held[np.random.RandomState(0).permutation(total)[:count]] = True
  return train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))


def digest(*parts: Images) -> str:
  """Returns the SHA-256 digest, in hexadecimal, of the shapes and bytes of the images and labels of all parts."""
  sha = hashlib.sha256()
  for part in parts:
    for array in (part.images, part.labels.astype("<i4", copy=False)):
      sha.update(repr(array.shape).encode())
      sha.update(np.ascontiguousarray(array).data)
  return sha.hexdigest()
