"""Mean image and principal components of colour of image files: computed once over a training set, then stored."""

import dataclasses
import hashlib
import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from resjax import files
from resjax.config import Data
from resjax.data.batch_stream import Share, TestPieces, in_order
from resjax.data.files import Files
from resjax.settings import ConfigError

PIECE = 32  # images


@dataclasses.dataclass(frozen=True)
class Moments:
  """Of the training images as a test would see them, in units of pixel / 255.

  Attributes:
    mean: float32 [S, S, 3], the mean image.
    channel_mean: float32 [3].
    channel_std: float32 [3].
    components: float32 [3, 3]; column k is the k-th principal component of all pixels' colours, as a unit vector, times
      its variance, largest first.
  """

  mean: np.ndarray
  channel_mean: np.ndarray
  channel_std: np.ndarray
  components: np.ndarray


class Sums(NamedTuple):
  """Exact sums over images: the same in whatever order they are added.

  Attributes:
    images: how many.
    pixels: int64 [S, S, 3], of the images.
    products: int64 [3, 3], over all pixels, of each channel with each.
  """

  images: int
  pixels: np.ndarray
  products: np.ndarray


@dataclasses.dataclass(frozen=True)
class SumPieces:
  """Sums over the pieces of a set."""

  pieces: TestPieces

  def __call__(self, piece: int) -> Sums:
    """Returns the sums over a piece; broken images are left out."""
    images = self.pieces(piece)
    sound = images.images[images.counts]
    colours = sound.reshape(-1, 3).astype(np.float64)  # whose products' sums are whole numbers below 2**53
    return Sums(len(sound), sound.sum(axis=0, dtype=np.int64), (colours.T @ colours).astype(np.int64))


def moments(files: Files, data: Data, digest: str, store: Path, workers: int) -> Moments:
  """Returns the moments of the images trained on, from `store` if they have been computed before.

  The pass takes the centre of each image, its shorter side resized to the lower end of `data.resize`. AlexNet's paper
  takes the components from the training set, too; the figures that ImageNet code hands around are those of one sample
  of one data set.

  Args:
    files: the training images.
    data: settings.
    digest: of the data set.
    store: folder of stored moments, one file each; its name is a digest of all that they depend on.
    workers: processes that decode.

  Raises:
    ConfigError: no image can be decoded, or the folder cannot be written.
  """
  parts = (digest, len(files), data.image_size, data.resize[0])
  path = store / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.npz"
  sums = _stored(path)
  if sums is None:
    sums = compute(files, data, workers)
    _store(path, sums)
  return _moments(sums)


def compute(files: Files, data: Data, workers: int) -> Sums:
  """Returns the sums over all images.

  Raises:
    ConfigError: no image can be decoded.
  """
  pieces = TestPieces(files, data, Share(PIECE))
  images, pixels, products = 0, np.zeros((data.image_size, data.image_size, 3), np.int64), np.zeros((3, 3), np.int64)
  for part in in_order(SumPieces(pieces), 0, pieces.batches, workers):
    images, pixels, products = images + part.images, pixels + part.pixels, products + part.products
  if images == 0:
    raise ConfigError(f"data.path = {data.path!r}: no training image can be decoded")
  return Sums(images, pixels, products)


def _moments(sums: Sums) -> Moments:
  count = sums.images * sums.pixels.shape[0] * sums.pixels.shape[1]
  mean = sums.pixels.sum(axis=(0, 1)) / (255 * count)
  covariance = sums.products / (255**2 * count) - np.outer(mean, mean)
  variances, vectors = np.linalg.eigh(covariance)
  vectors = vectors * np.where(vectors.sum(axis=0) < 0, -1, 1)  # of the two unit vectors always the same one
  return Moments(
    mean=(sums.pixels / (255 * sums.images)).astype(np.float32),
    channel_mean=mean.astype(np.float32),
    channel_std=np.sqrt(np.diag(covariance)).astype(np.float32),
    components=(vectors * variances)[:, ::-1].astype(np.float32),
  )


def _stored(path: Path) -> Sums | None:
  """Returns what was stored before; None if there is nothing, or nothing whole."""
  try:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # numpy would leave a damaged one open
      return Sums(int(file["images"]), file["pixels"], file["products"])
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return None


def _store(path: Path, sums: Sums) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, **sums._asdict())
    files.write_atomically(path, content.getvalue(), alone=False)
  except OSError as error:
    raise ConfigError(f"{path}: cannot be written ({error.strerror or error})") from None
