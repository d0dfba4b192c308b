"""Handwritten digits of scikit-learn: 1797 gray images of 8x8 pixels that are part of the package."""

import numpy as np

from resjax.config import Data
from resjax.data.dataset import Description, Images, Source
from resjax.settings import ConfigError

IMAGES, TEST_IMAGES = 1797, 360
BRIGHTEST = 16  # a pixel is the number of dark points in a 4x4 block of the scanned digit


def describe(data: Data) -> Description:
  """Describes the data set; see `resjax.data.describe`.

  Raises:
    ConfigError: `data.path` is not empty.
  """
  if data.path:
    raise ConfigError(f"data.path = {data.path!r}: must be empty, because the digits are part of scikit-learn")
  return Description((8, 8, 1), classes=10, train_images=IMAGES - TEST_IMAGES, test_images=TEST_IMAGES)


def load(data: Data) -> Source:
  """Reads the digits, scaled from 0..16 to 0..255 and rounded.

  The test set is the last fifth of the file, because the package defines no split. Adjacent digits of the file seem to
  be written by the same person, so a split at one position tests on other writers than those trained on, unlike a
  shuffled one: the nearest training image is of another class for 4.4 % of the test images, after a shuffle for 1.2 %.
  Each class has 33 to 37 test images.

  Raises:
    ConfigError: `data.path` is not empty.
  """
  from sklearn.datasets import load_digits  # slow to import, and needed only here

  describe(data)
  bunch = load_digits()
  images = np.rint(bunch.images * (255 / BRIGHTEST)).astype(np.uint8)[..., np.newaxis]
  labels = bunch.target.astype(np.int32)
  train, test = slice(None, IMAGES - TEST_IMAGES), slice(IMAGES - TEST_IMAGES, None)
  return Source(
    Images(images[train], labels[train]), Images(images[test], labels[test]), 10, path="", form="scikit-learn"
  )
