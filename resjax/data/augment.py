"""Normalization and augmentation of images in compiled steps: mean subtraction, random crop, mirroring (Sec. 4.2)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from resjax.config import Data
from resjax.settings import ConfigError

CHUNK = 1024  # images per step of the exact sums over a training set


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Statistics:
  """Mean and standard deviation by which images are normalized, in units of pixel / 255.

  Attributes:
    mean: Mean image, float32 [H, W, C], or channel means, float32 [C].
    std: Standard deviation of each channel, float32 [C]; ones if only the mean is subtracted, as in the paper.
  """

  mean: np.ndarray | jax.Array
  std: np.ndarray | jax.Array


@dataclasses.dataclass(frozen=True)
class Draws:
  """Random crop position and mirroring of each image of a batch.

  Attributes:
    rows: First row of the crop within the padded image, 0 to 2 * pad, int32 [B].
    columns: First column of the crop within the padded image, 0 to 2 * pad, int32 [B].
    mirrored: Whether the image is mirrored, bool [B].
  """

  rows: jax.Array
  columns: jax.Array
  mirrored: jax.Array


def statistics(images: np.ndarray, data: Data) -> Statistics:
  """Returns the statistics by which images are normalized, computed with exact integer sums or taken from the settings.

  Args:
    images: Training images, uint8 [N, H, W, C].
    data: Settings; `normalize` selects the mean image, the mean and deviation of each channel, or given values.

  Returns:
    Statistics as numpy arrays, rounded once from float64 to float32.

  Raises:
    ConfigError: The deviation of a channel is 0, or the settings give a mean for another number of channels.
  """
  channels = images.shape[-1]
  if data.normalize == "given":
    if len(data.mean) != channels:
      raise ConfigError(f"data.mean = {data.mean}: must have {channels} values, one per channel of the images")
    return given(data)
  if data.normalize == "pixel_mean":
    mean = images.sum(axis=0, dtype=np.int64) / (255 * len(images))
    return Statistics(mean.astype(np.float32), np.ones(channels, np.float32))
  count = images.size // channels
  sums, squares = [0] * channels, [0] * channels
  for start in range(0, len(images), CHUNK):
    chunk = images[start : start + CHUNK].astype(np.int64).reshape(-1, channels)
    sums = [total + int(part) for total, part in zip(sums, chunk.sum(axis=0), strict=True)]
    squares = [total + int(part) for total, part in zip(squares, (chunk**2).sum(axis=0), strict=True)]
  # Python integers, because count * square exceeds 64 bits for 50,000 images.
  scatter = [count * square - total**2 for total, square in zip(sums, squares, strict=True)]
  if 0 in scatter:
    raise ConfigError(
      f"data.normalize = {data.normalize!r}: channel {scatter.index(0)} is constant over all training images, "
      "so that its standard deviation is 0; use data.normalize=pixel_mean"
    )
  std = np.array([value**0.5 / (255 * count) for value in scatter])
  return Statistics((np.array(sums) / (255 * count)).astype(np.float32), std.astype(np.float32))


def given(data: Data) -> Statistics:
  """Returns the statistics given in the settings (`data.mean`, `data.std`)."""
  return Statistics(np.array(data.mean, np.float32), np.array(data.std, np.float32))


def normalize(images: jax.Array, statistics: Statistics) -> jax.Array:
  """Returns (pixel / 255 - mean) / std.

  Args:
    images: Images, uint8 [..., H, W, C].
    statistics: Statistics of the training images.

  Returns:
    Normalized images, float32 [..., H, W, C].
  """
  return (images.astype(jnp.float32) / 255 - statistics.mean) / statistics.std


def lighting(key: jax.Array, images_BxHxWxC: jax.Array, components_CxC: jax.Array, deviation: float) -> jax.Array:
  """Adds a random multiple of each principal component of color to all pixels of an image.

  This is the color augmentation of AlexNet (Krizhevsky et al., 2012, Sec. 4.1), which the paper uses for ImageNet. The
  multiples are normally distributed and drawn once per image and component.

  Args:
    key: Random key of the step.
    images_BxHxWxC: Images, float [B, H, W, C].
    components_CxC: Principal components as columns, each times its variance, in the units of the images, float [C, C].
    deviation: Standard deviation of the multiples; 0.1 in AlexNet.

  Returns:
    Images, float [B, H, W, C].
  """
  images = images_BxHxWxC
  shares = deviation * jax.random.normal(key, (len(images), components_CxC.shape[1]), images.dtype)
  return images + (shares @ components_CxC.T)[:, None, None, :]


def draw(key: jax.Array, count: int, pad: int, mirror: bool) -> Draws:
  """Draws a crop position and a mirroring for each image of a batch, independently and uniformly.

  Args:
    key: Random key of the step.
    count: Number of images of the batch.
    pad: Zero padding on each side, in pixels, which allows (2 * pad + 1)^2 crops.
    mirror: Whether each image is mirrored with probability 1/2; otherwise none is.
  """
  rows, columns, mirrored = jax.random.split(key, 3)
  return Draws(
    rows=jax.random.randint(rows, (count,), 0, 2 * pad + 1, jnp.int32),
    columns=jax.random.randint(columns, (count,), 0, 2 * pad + 1, jnp.int32),
    mirrored=jax.random.bernoulli(mirrored, shape=(count,)) if mirror else jnp.zeros((count,), bool),
  )


def augment(key: jax.Array, images_BxHxWxC: jax.Array, pad: int, mirror: bool) -> jax.Array:
  """Returns a random crop of each zero-padded image or of its mirror image (Sec. 4.2: 4 pixels on each side).

  Padding follows normalization, as in the paper, so that zero is the mean.

  Args:
    key: Random key of the step.
    images_BxHxWxC: Normalized images, float [B, H, W, C].
    pad: Zero padding on each side, in pixels (static).
    mirror: Whether each image is mirrored with probability 1/2 (static).

  Returns:
    Images of the same shape and dtype.
  """
  images = images_BxHxWxC
  if pad == 0 and not mirror:
    return images
  draws = draw(key, len(images), pad, mirror)
  if pad > 0:
    _, *shape = images.shape
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    # One slice per image is a gather with a batch dimension, which needs no communication on a sharded batch.
    images = jax.vmap(lambda image, row, column: jax.lax.dynamic_slice(image, (row, column, 0), shape))(
      padded, draws.rows, draws.columns
    )
  if mirror:
    images = jnp.where(draws.mirrored[:, None, None, None], images[:, :, ::-1], images)
  return images
