"""What happens to images on the device: mean subtraction, random crop, mirror (Sec. 4.2). Meant for compiled steps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from resjax.config import Data
from resjax.settings import ConfigError

CHUNK = 1024  # images squared at a time


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Statistics:
  """What is subtracted from images and what they are divided by, in units of pixel / 255.

  Attributes:
    mean: float32 [H, W, C] (the mean image) or [C].
    std: float32 [C]; ones where only the mean is subtracted, as in the paper.
  """

  mean: np.ndarray | jax.Array
  std: np.ndarray | jax.Array


@dataclasses.dataclass(frozen=True)
class Draws:
  """How each image of a batch is cropped and whether it is mirrored.

  Attributes:
    rows: int32 [B], first row of the crop within the padded image, 0 to 2 * pad.
    columns: int32 [B], first column, likewise.
    mirrored: bool [B].
  """

  rows: jax.Array
  columns: jax.Array
  mirrored: jax.Array


def statistics(images: np.ndarray, data: Data) -> Statistics:
  """Computes the mean image, or mean and deviation of each channel, by exact integer sums, or takes those given.

  Args:
    images: the images trained on, uint8 [N, H, W, C].
    data: `normalize` says which.

  Returns:
    numpy arrays, rounded once, from float64 to float32.

  Raises:
    ConfigError: deviations are asked for and a channel does not vary, or other numbers of channels are given.
  """
  channels = images.shape[-1]
  if data.normalize == "given":
    if len(data.mean) != channels:
      raise ConfigError(f"data.mean = {data.mean}: the images have {channels} channels")
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
  # Python's integers: count * square is beyond 64 bits for 50,000 images.
  scatter = [count * square - total**2 for total, square in zip(sums, squares, strict=True)]
  if 0 in scatter:
    raise ConfigError(
      f"data.normalize = {data.normalize!r}: channel {scatter.index(0)} is the same in all training images, "
      "its deviation is 0; use pixel_mean"
    )
  std = np.array([value**0.5 / (255 * count) for value in scatter])
  return Statistics((np.array(sums) / (255 * count)).astype(np.float32), std.astype(np.float32))


def given(data: Data) -> Statistics:
  """Returns the numbers that stand in the settings."""
  return Statistics(np.array(data.mean, np.float32), np.array(data.std, np.float32))


def normalize(images: jax.Array, statistics: Statistics) -> jax.Array:
  """Returns (pixel / 255 - mean) / std.

  Args:
    images: uint8 [..., H, W, C].
    statistics: of the training images.

  Returns:
    float32, of the same shape.
  """
  return (images.astype(jnp.float32) / 255 - statistics.mean) / statistics.std


def lighting(key: jax.Array, images: jax.Array, components: jax.Array, deviation: float) -> jax.Array:
  """Returns images with a random share of each principal component of colour added to all pixels of an image.

  The colour augmentation of AlexNet (Krizhevsky et al., 2012, Sec. 4.1), which the paper takes over for ImageNet:
  shares are normal, drawn once an image.

  Args:
    key: the key of this step.
    images: float [B, H, W, C].
    components: float [C, C], a column each, times its variance, in units of the images.
    deviation: of the shares; AlexNet's is 0.1.
  """
  shares = deviation * jax.random.normal(key, (len(images), components.shape[1]), images.dtype)
  return images + (shares @ components.T)[:, None, None, :]


def draw(key: jax.Array, count: int, pad: int, mirror: bool) -> Draws:
  """Draws crop and mirror for `count` images, independently; a pure function of its arguments.

  Args:
    key: the key of this step.
    count: images of the batch.
    pad: pixels of zeros on each side; every one of the (2 * pad + 1)^2 crops is as likely.
    mirror: whether half of the images, on average, are mirrored; else none is.
  """
  rows, columns, mirrored = jax.random.split(key, 3)
  return Draws(
    rows=jax.random.randint(rows, (count,), 0, 2 * pad + 1, jnp.int32),
    columns=jax.random.randint(columns, (count,), 0, 2 * pad + 1, jnp.int32),
    mirrored=jax.random.bernoulli(mirrored, shape=(count,)) if mirror else jnp.zeros((count,), bool),
  )


def augment(key: jax.Array, images: jax.Array, pad: int, mirror: bool) -> jax.Array:
  """Returns a random crop of each zero-padded image or of its mirror (Sec. 4.2: 4 pixels on each side).

  The zeros stand around the normalised image, where zero is the mean: the paper subtracts, then pads.

  Args:
    key: the key of this step.
    images: normalised images, float [B, H, W, C].
    pad: pixels on each side (static).
    mirror: whether to mirror half of the images (static).

  Returns:
    images of the same shape and type.
  """
  if pad == 0 and not mirror:
    return images
  draws = draw(key, len(images), pad, mirror)
  if pad > 0:
    _, *shape = images.shape
    padded = jnp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    # One slice an image is a gather whose batch the partitioner knows: on a sharded batch it needs no communication.
    images = jax.vmap(lambda image, row, column: jax.lax.dynamic_slice(image, (row, column, 0), shape))(
      padded, draws.rows, draws.columns
    )
  if mirror:
    images = jnp.where(draws.mirrored[:, None, None, None], images[:, :, ::-1], images)
  return images
