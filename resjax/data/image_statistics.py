"""Mean image and principal components of color of image files, computed once per training set and then cached."""

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

PIECE = 32  # images per piece


@dataclasses.dataclass(frozen=True)
class Moments:
  """Moments of the center crops of the training images, in units of pixel / 255.

  Attributes:
    mean: Mean image, float32 [S, S, 3].
    channel_mean: Mean of each channel, float32 [3].
    channel_std: Standard deviation of each channel, float32 [3].
    components: Principal components of the pixels' colors, float32 [3, 3]. Column k is the k-th one as a unit vector
      times its variance, in descending order of the variance.
  """

  mean: np.ndarray
  channel_mean: np.ndarray
  channel_std: np.ndarray
  components: np.ndarray


class Sums(NamedTuple):
  """Exact sums over images, which do not depend on the order of summation.

  Attributes:
    images: Number of images.
    pixels: Sum of the images, int64 [S, S, 3].
    products: Sum over all pixels of the products of each pair of channels, int64 [3, 3].
  """

  images: int
  pixels: np.ndarray
  products: np.ndarray


@dataclasses.dataclass(frozen=True)
class SumPieces:
  """Sums over the pieces of a set.

  Attributes:
    pieces: Pieces of the set.
  """

  pieces: TestPieces

  def __call__(self, piece: int) -> Sums:
    """Returns the sums over a piece, without unreadable images."""
    images = self.pieces(piece)
    readable = images.images[images.counts]
    colors = readable.reshape(-1, 3).astype(np.float64)  # exact: the sums of products are integers below 2**53
    return Sums(len(readable), readable.sum(axis=0, dtype=np.int64), (colors.T @ colors).astype(np.int64))


def moments(files: Files, data: Data, digest: str, store: Path, workers: int) -> Moments:
  """Returns the moments of the training images, from the cache if they were computed before.

  They are computed from the center crop of each image, resized to the lower end of `data.resize`. As in the AlexNet
  paper, the components are those of the training set, not the constants that other ImageNet code shares, which were
  computed from one sample of one data set.

  Args:
    files: Training images.
    data: Settings of the data set.
    digest: Digest of the data set.
    store: Folder of the cache; the name of a file in it is a digest of everything that its moments depend on.
    workers: Number of worker processes that decode images.

  Raises:
    ConfigError: No image can be decoded, or the folder is not writable.
  """
  parts = (digest, len(files), data.image_size, data.resize[0])
  path = store / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.npz"
  sums = _load(path)
  if sums is None:
    sums = compute(files, data, workers)
    _save(path, sums)
  return _moments(sums)


def compute(files: Files, data: Data, workers: int) -> Sums:
  """Returns the sums over all images.

  Args:
    files: Training images.
    data: Settings of the data set.
    workers: Number of worker processes that decode images.

  Raises:
    ConfigError: No image can be decoded.
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
  vectors = vectors * np.where(vectors.sum(axis=0) < 0, -1, 1)  # makes the sign of each eigenvector unique
  return Moments(
    mean=(sums.pixels / (255 * sums.images)).astype(np.float32),
    channel_mean=mean.astype(np.float32),
    channel_std=np.sqrt(np.diag(covariance)).astype(np.float32),
    components=(vectors * variances)[:, ::-1].astype(np.float32),
  )


def _load(path: Path) -> Sums | None:
  """Returns the cached sums, or None if there are none or the file is damaged."""
  try:
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # numpy leaves a damaged file open
      return Sums(int(file["images"]), file["pixels"], file["products"])
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return None


def _save(path: Path, sums: Sums) -> None:
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(content, **sums._asdict())
    files.write_atomically(path, content.getvalue(), alone=False)
  except OSError as error:
    raise ConfigError(f"{path}: cannot be written ({error.strerror or error})") from None
