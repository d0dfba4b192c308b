"""From `config.Data` to arrays: one function that describes a data set, one that loads it."""

import importlib.util

from resjax.config import Data
from resjax.data import arrays, cifar, digits, image_files
from resjax.data.dataset import Dataset, Description, FileDataset, digest, hold_out, remaining
from resjax.settings import ConfigError

# A module a data set: `describe(data)` says its shape, classes and sizes, all of the training set included;
# `load(data)` reads it.
SOURCES = {
  "digits": digits,
  "cifar10": cifar,
  "cifar100": cifar,
  "npz": arrays,
  "folder": image_files,
  "imagenet2012": image_files,
}

IMAGE_FILES = tuple(name for name, module in SOURCES.items() if module is image_files)


def is_streamed(data: Data) -> bool:
  """Whether the images are decoded anew every epoch, and not held in memory.

  What an image looks like in training follows from the settings alone, so this does not depend on how many there are.
  """
  return data.name in IMAGE_FILES and bool(data.resize)


def describe(data: Data) -> Description:
  """Says what a data set is without reading its images; of an .npz file the labels are read.

  Raises:
    ConfigError: the .npz file cannot be used, or more images are held out than there are.
  """
  whole = SOURCES[data.name].describe(data)
  return Description(
    image_shape=whole.image_shape,
    classes=whole.classes,
    train_images=remaining(whole.train_images, data.validation_images),
    test_images=whole.test_images,
  )


def load(data: Data) -> Dataset | FileDataset:
  """Reads a data set into memory, checks it and holds out the validation images.

  Of image files that are to be decoded anew every epoch (`data.resize`) it returns where they are.

  Raises:
    ConfigError: it is not there, or not what it should be; the message is one line that names the file.
  """
  if is_streamed(data):
    _check_extra(data)
    return image_files.load_files(data)
  remaining(SOURCES[data.name].describe(data).train_images, data.validation_images)
  if data.name in IMAGE_FILES:
    _check_extra(data)
  source = SOURCES[data.name].load(data)
  train, validation = hold_out(source.train, data.validation_images)
  return Dataset(
    name=data.name,
    path=source.path,
    form=source.form,
    classes=source.classes,
    digest=digest(source.train, source.test),
    train_images=train.images,
    train_labels=train.labels,
    validation_images=validation.images,
    validation_labels=validation.labels,
    test_images=source.test.images,
    test_labels=source.test.labels,
    notes=source.notes,
    skipped=source.skipped,
  )


def _check_extra(data: Data) -> None:
  """Raises ConfigError if what decodes image files is not installed."""
  for name in ("cv2", "grain", "simplejpeg"):
    if importlib.util.find_spec(name) is None:
      raise ConfigError(f"data.name = {data.name!r} needs {name}: install the extra imagenet")
