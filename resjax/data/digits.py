"""scikit-learn's handwritten digits: 1797 real grey images of 8x8 pixels that come with the package."""

import numpy as np

from resjax.config import Data
from resjax.data.dataset import Description, Images, Source
from resjax.settings import ConfigError

IMAGES, TEST_IMAGES = 1797, 360
BRIGHTEST = 16  # pixels count the dark points of a 4x4 block of the scanned digit


def describe(data: Data) -> Description:
  """Describes the set; see `resjax.data.describe`.

  Raises:
    ConfigError: a path is given, though there is no file to read.
  """
  if data.path:
    raise ConfigError(f"data.path = {data.path!r}: must be empty, the digits come with scikit-learn")
  return Description((8, 8, 1), classes=10, train_images=IMAGES - TEST_IMAGES, test_images=TEST_IMAGES)


def load(data: Data) -> Source:
  """Reads the digits, scaled from 0..16 to 0..255 (rounded).

  The test set is the last fifth of the file. The package has no split of its own, and neighbours in its file look as if
  written by one hand: a cut at one place tests on other hands than those trained on, a shuffled split on the same (the
  nearest training image is of another class for 4.4 % of the test images, after a shuffle for 1.2 %). The classes are
  even there: 33 to 37 test images each.

  Raises:
    ConfigError: as `describe`.
  """
  from sklearn.datasets import load_digits  # slow to import, and needed for this data set alone

  describe(data)
  bunch = load_digits()
  images = np.rint(bunch.images * (255 / BRIGHTEST)).astype(np.uint8)[..., np.newaxis]
  labels = bunch.target.astype(np.int32)
  train, test = slice(None, IMAGES - TEST_IMAGES), slice(IMAGES - TEST_IMAGES, None)
  return Source(
    Images(images[train], labels[train]), Images(images[test], labels[test]), 10, path="", form="scikit-learn"
  )
