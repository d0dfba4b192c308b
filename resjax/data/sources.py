"""From `config.Data` to arrays: one function that describes a data set, one that loads it."""

from resjax.config import Data
from resjax.data import arrays, cifar, digits, image_files
from resjax.data.dataset import Dataset, Description, digest, hold_out, remaining

# A module a data set: `describe(data)` says its shape, classes and sizes, all of the training set included;
# `load(data)` reads it.
SOURCES = {"digits": digits, "cifar10": cifar, "cifar100": cifar, "npz": arrays, "folder": image_files}


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


def load(data: Data) -> Dataset:
  """Reads a data set into memory, checks it and holds out the validation images.

  Raises:
    ConfigError: it is not there, or not what it should be; the message is one line that names the file.
  """
  remaining(SOURCES[data.name].describe(data).train_images, data.validation_images)
  source = SOURCES[data.name].load(data)
  train, validation = hold_out(source.train, data.validation_images)
  return Dataset(
    name=data.name,
    path=source.path,
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
