"""Data sets of image files: image folders, and ImageNet as prepared by tensorflow-datasets."""

import dataclasses

from resjax import files
from resjax.config import Data
from resjax.data import folder
from resjax.data.dataset import Description, FileDataset, Source, hold_out
from resjax.data.files import Files
from resjax.settings import ConfigError

IMAGENET_CLASSES, IMAGENET_TRAIN, IMAGENET_TEST = 1000, 1_281_167, 50_000


@dataclasses.dataclass(frozen=True)
class ImageFiles:
  """Image files of a data set.

  Attributes:
    train: Training images.
    test: Test images.
    classes: Number of classes.
    class_names: Names of the classes in the order of the labels; empty if they are not known.
    path: Path of the data set.
    form: Form of the data set, "image files" or "tensorflow-datasets".
    digest: SHA-256 over names, sizes and labels, which does not require reading the images.
  """

  train: Files
  test: Files
  classes: int
  class_names: tuple[str, ...]
  path: str
  form: str
  digest: str


def describe(data: Data) -> Description:
  """Describes the data set; see `resjax.data.describe`."""
  if data.name == "folder":
    return folder.describe(data)
  # ImageNet can be described where it is not present.
  return Description((data.image_size, data.image_size, 3), IMAGENET_CLASSES, IMAGENET_TRAIN, IMAGENET_TEST)


def load(data: Data) -> Source:
  """Decodes all images to one size; unreadable images are left out and listed in `Source.skipped`.

  Raises:
    ConfigError: The files do not form a data set, no image can be decoded, or the images need too much memory.
  """
  from resjax.data import decoded_images  # needs an extra, and is slow to import

  found = _find(data)
  decoded_images.check_size(data, len(found.train) + len(found.test))
  decoded = {
    name: decoded_images.decode_all(part, data.image_size)
    for name, part in (("train", found.train), ("test", found.test))
  }
  for name, (images, skipped) in decoded.items():
    if not len(images):
      raise ConfigError(f"{found.path}: no {name} image can be decoded; the first: {skipped[0]}")
  (train, train_skipped), (test, test_skipped) = decoded.values()
  skipped = (*train_skipped, *test_skipped)
  return Source(train, test, found.classes, found.path, found.form, skipped=skipped, class_names=found.class_names)


def load_files(data: Data) -> FileDataset:
  """Finds all images, without decoding them, and holds out the validation images.

  Raises:
    ConfigError: The files do not form a data set, or no training image would remain.
  """
  found = _find(data)
  train, validation = hold_out(found.train, data.validation_images)
  return FileDataset(
    name=data.name,
    path=found.path,
    form=found.form,
    classes=found.classes,
    digest=found.digest,
    image_shape=(data.image_size, data.image_size, 3),
    train=train,
    validation=validation,
    test=found.test,
    notes=(),
    class_names=found.class_names,
  )


def _find(data: Data) -> ImageFiles:
  if data.name == "folder":
    train, test, classes = folder.find(data)
    names = tuple(map(files.printable, classes))
    return ImageFiles(train, test, len(names), names, str(train.root), "image files", folder.digest(train, test))
  from resjax.data import imagenet_tfds  # slow to import

  records, validation, names, path, digest = imagenet_tfds.find(data)
  return ImageFiles(records, validation, IMAGENET_CLASSES, names, path, "tensorflow-datasets", digest)
