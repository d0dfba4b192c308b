"""Data sets by name: `describe` returns the properties of one, `load` reads it."""

import functools
import importlib.util

from resjax.config import Data
from resjax.data import arrays, cifar, coco, digits, image_files, voc
from resjax.data.annotated_images import DetectionDataset
from resjax.data.dataset import Dataset, Description, FileDataset, digest, hold_out, remaining
from resjax.settings import ConfigError

AnyDataset = Dataset | FileDataset | DetectionDataset

# Each module has `describe(data)`, which counts all images of the training set, and `load(data)`.
SOURCES = {
  "digits": digits,
  "cifar10": cifar,
  "cifar100": cifar,
  "npz": arrays,
  "folder": image_files,
  "imagenet2012": image_files,
}

# Data sets with boxes: their modules, and what can be said of the published set without having it: number of classes,
# training images and test images of VOC2007 and COCO 2017.
WITH_BOXES = {"voc": (voc, 20, 5_011, 4_952), "coco": (coco, 80, 117_266, 5_000)}


def describe(data: Data) -> Description:
  """Describes a data set without reading its images; of an .npz file the labels are read.

  Raises:
    ConfigError: The .npz file cannot be used, or no training image would remain after holding out validation images.
  """
  if data.has_boxes:
    return _describe_boxes(data)
  whole = SOURCES[data.name].describe(data)
  return Description(
    image_shape=whole.image_shape,
    classes=whole.classes,
    train_images=remaining(whole.train_images, data.validation_images),
    test_images=whole.test_images,
  )


def load(data: Data) -> AnyDataset:
  """Reads a data set into memory, validates it and holds out the validation images.

  Image files that are decoded in every epoch (by `data.resize`, or because they have boxes) are only located.

  Raises:
    ConfigError: The data set does not exist or is invalid; the message is one line that names the file.
  """
  if data.has_boxes:
    _check_extra(data)
    return _load_boxes(data)
  if data.is_streamed:
    _check_extra(data)
    return image_files.load_files(data)
  remaining(SOURCES[data.name].describe(data).train_images, data.validation_images)
  if data.has_files:
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
    class_names=source.class_names,
  )


def _describe_boxes(data: Data) -> Description:
  """Describes a data set with boxes; the shape of its images is a setting of the detector."""
  _, classes, train, test = WITH_BOXES[data.name]
  if not data.path:
    return Description((1, 1, 3), classes, remaining(train, data.validation_images), test)
  dataset = _load_boxes(data)
  return Description((1, 1, 3), dataset.classes, len(dataset.train), len(dataset.test))


@functools.cache
def _load_boxes(data: Data) -> DetectionDataset:
  return WITH_BOXES[data.name][0].load(data)


def _check_extra(data: Data) -> None:
  """Raises ConfigError if a library that decodes image files is not installed."""
  for name in ("cv2", "grain", "simplejpeg"):
    if importlib.util.find_spec(name) is None:
      raise ConfigError(f"data.name = {data.name!r} needs {name}: install the extra imagenet")
