"""Data sets of image files: folders, and ImageNet through tensorflow-datasets."""

from resjax.config import Data
from resjax.data import folder
from resjax.data.dataset import Description, FileDataset, Source, hold_out
from resjax.settings import ConfigError


def describe(data: Data) -> Description:
  """Describes the set; see `resjax.data.describe`."""
  return folder.describe(data)


def load(data: Data) -> Source:
  """Decodes all images to one size; what is broken is left out and named.

  Raises:
    ConfigError: the folder is not as it should be, no image can be decoded, there are too many to be held, or the extra
      is not installed.
  """
  from resjax.data import whole  # needs an extra, and is slow to import

  train, test, classes = folder.find(data)
  whole.check_size(data, len(train) + len(test))
  decoded = {name: whole.decode_all(files, data.image_size) for name, files in (("train", train), ("test", test))}
  for name, (images, skipped) in decoded.items():
    if not len(images):
      raise ConfigError(f"{data.path}: no {name} image can be decoded; the first: {skipped[0]}")
  (train_images, train_skipped), (test_images, test_skipped) = decoded.values()
  return Source(train_images, test_images, len(classes), str(train.root), skipped=(*train_skipped, *test_skipped))


def load_files(data: Data) -> FileDataset:
  """Finds all images and holds out those for validation; none is decoded.

  Raises:
    ConfigError: the folder is not as it should be, or no image would be left to train on.
  """
  train, test, classes = folder.find(data)
  rest, validation = hold_out(train, data.validation_images)
  return FileDataset(
    name=data.name,
    path=str(train.root),
    classes=len(classes),
    digest=folder.digest(train, test),
    train=rest,
    validation=validation,
    test=test,
    notes=(),
  )
