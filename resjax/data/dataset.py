"""What a source hands over and what the rest of the code gets: images and labels as plain arrays."""

import dataclasses
import hashlib
from typing import TypeVar

import numpy as np

from resjax.data.files import Files
from resjax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class Description:
  """What can be said of a data set without reading its images.

  Attributes:
    image_shape: height and width in pixels, channels.
    classes: how many; labels are 0 to `classes` - 1.
    train_images: images trained on, those held out for validation not counted.
    test_images: images of the test set.
  """

  image_shape: tuple[int, int, int]
  classes: int
  train_images: int
  test_images: int


@dataclasses.dataclass(frozen=True)
class Images:
  """A set of images in the order of its files.

  Attributes:
    images: uint8 [N, H, W, C].
    labels: int32 [N].
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
  """A whole data set as its files have it.

  Attributes:
    train: the training set.
    test: the test set.
    classes: number of classes.
    path: where it was read from; empty for what comes with a package.
    form: in which of the forms that a data set comes in.
    notes: sentences that belong in the record of a run.
    skipped: what is wrong with each image that could not be decoded and is left out.
  """

  train: Images
  test: Images
  classes: int
  path: str
  form: str
  notes: tuple[str, ...] = ()
  skipped: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A data set ready for training.

  Attributes:
    name: `data.name`.
    path: where it was read from; empty for what comes with a package.
    form: in which of the forms that a data set comes in.
    classes: number of classes.
    digest: SHA-256 over the shapes and bytes of all images and labels; the same however many are held out.
    train_images: uint8 [N, H, W, C], without those held out.
    train_labels: int32 [N].
    validation_images: uint8 [V, H, W, C], held out of the training set; V may be 0.
    validation_labels: int32 [V].
    test_images: uint8 [T, H, W, C].
    test_labels: int32 [T].
    notes: sentences that belong in the record of a run.
    skipped: what is wrong with each image that could not be decoded and is left out.
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

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """Height and width in pixels, channels."""
    return self.train_images.shape[1:]

  def count(self, split: str) -> int:
    """Returns the images of `train`, `val` or `test`."""
    return len({"train": self.train_labels, "val": self.validation_labels, "test": self.test_labels}[split])


@dataclasses.dataclass(frozen=True)
class FileDataset:
  """A data set whose images are decoded anew every epoch.

  Attributes:
    name: `data.name`.
    path: where it is read from.
    form: in which of the forms that a data set comes in.
    classes: number of classes.
    digest: SHA-256 over names, sizes in bytes and labels of all files; the same however many are held out.
    image_shape: height and width in pixels, channels, as the net sees the images.
    train: the training images, without those held out.
    validation: held out of the training set; may be empty.
    test: the test images.
    notes: sentences that belong in the record of a run.
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

  def count(self, split: str) -> int:
    """Returns the images of `train`, `val` or `test`."""
    return len({"train": self.train, "val": self.validation, "test": self.test}[split])


def remaining(train_images: int, validation_images: int) -> int:
  """Returns how many training images are left to train on.

  Raises:
    ConfigError: none would be left.
  """
  if validation_images >= train_images:
    raise ConfigError(
      f"data.validation_images = {validation_images}: must be 0 to {train_images - 1}, "
      f"the training set has {train_images} images"
    )
  return train_images - validation_images


def hold_out(train: Set, count: int) -> tuple[Set, Set]:
  """Splits a training set into what is trained on and `count` images for validation (Sec. 4.2: 45k and 5k).

  The choice depends on the size of the set only: the first `count` of one fixed permutation, so that every class gets
  about its share and a smaller validation set is part of a larger one. Both parts keep the order of the files.

  Raises:
    ConfigError: no image would be left to train on.
  """
  total = len(train)
  remaining(total, count)
  if count == 0:
    return train, train.take(np.empty(0, np.int64))
  # RandomState's stream is frozen by numpy's compatibility policy; a Generator's may change with a release.
  held = np.zeros(total, bool)
  held[np.random.RandomState(0).permutation(total)[:count]] = True
  return train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))


def digest(*parts: Images) -> str:
  """Returns SHA-256, in hexadecimal, over the shapes and bytes of the images and labels of all parts in order."""
  sha = hashlib.sha256()
  for part in parts:
    for array in (part.images, part.labels.astype("<i4", copy=False)):
      sha.update(repr(array.shape).encode())
      sha.update(np.ascontiguousarray(array).data)
  return sha.hexdigest()
