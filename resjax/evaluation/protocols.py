"""Test protocols (Sec. 3.4): the center crop, ten crops, or the whole image at several scales.

A protocol has two steps. On the host, an image of any size becomes views, uint8 arrays of few different shapes. On the
device, a batch of views of the same shape becomes normalized inputs of the network. The probabilities of an image are
the mean over all its inputs.

- single: the center crop at the network's training size, of the image resized to the shorter side that training uses
  for its tests.
- 10crop: the four corners and the center of the central square of that image, and their mirror images, as in AlexNet,
  which the paper refers to. If images are resized to exactly the network's size, as for CIFAR, the crops are taken from
  the zero-padded image, as in training (Sec. 4.2).
- multiscale: the whole image and its mirror image with shorter sides of 224, 256, 384, 480 and 640 pixels for a
  training size of 224, and in proportion for others. The network is applied fully convolutionally: its global pooling
  averages over a larger feature map. The longer side is rounded to a multiple of the network's total stride (32
  pixels), so that the last feature map covers the image exactly, and thousands of photographs have only some dozens of
  shapes, each of which is compiled once.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from resjax.data.augment import Statistics, normalize

CROP, SIDES = 224, (224, 256, 384, 480, 640)  # the paper's training size and its shorter sides for tests
LONGEST = 4  # maximum aspect ratio; of a longer image, multiscale uses the middle part


@dataclasses.dataclass(frozen=True)
class Size:
  """Size of the input of a network, or of all networks of an ensemble.

  Attributes:
    side: Side of the square training images in pixels.
    shorter: Shorter side in pixels to which an image is resized before the crop; at least `side`.
    pad: Zero padding in pixels on each side of a training image before its random crop, if `shorter` equals `side`.
    stride: Total stride of the network: pixels of the image per pixel of the last feature map. Of several networks
      the least common multiple.
  """

  side: int
  shorter: int
  pad: int
  stride: int


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A test protocol.

  Attributes:
    shorter: Function that returns the shorter side in pixels to which images may be reduced on decoding.
    views: Function, executed on the host, from an image, uint8 [H, W, C], to its views.
    inputs: Function, executed on the device, from views of one shape, uint8 [B, h, w, C], to K inputs of each view,
      float32 [K, B, h', w', C].
    crops: Number of inputs per view, K.
    uses: Attributes of `Size` that the protocol uses, besides `side`.
  """

  shorter: Callable[[Size], int]
  views: Callable[[np.ndarray, Size], list[np.ndarray]]
  inputs: Callable[[jax.Array, Statistics, Size], jax.Array]
  crops: int
  uses: tuple[str, ...]


def single_view(image: np.ndarray, size: Size) -> list[np.ndarray]:
  """Returns the center crop of an image."""
  return [center_crop(image, size.shorter, size.side)]


def ten_crop_view(image: np.ndarray, size: Size) -> list[np.ndarray]:
  """Returns the central square of an image, from which the ten crops are taken."""
  return [center_crop(image, size.shorter, size.shorter)]


def scale_views(image: np.ndarray, size: Size) -> list[np.ndarray]:
  """Returns the whole image at each of the scales."""
  limit = LONGEST * min(image.shape[:2])
  top, left = (max(length - limit, 0) // 2 for length in image.shape[:2])
  image = image[top : top + limit, left : left + limit]
  height, width = image.shape[:2]
  views = []
  for side in SIDES:
    factor = side * size.side / CROP / min(height, width)
    views.append(resize(image, *(max(round(n * factor / size.stride), 1) * size.stride for n in (height, width))))
  return views


def center_crop(image: np.ndarray, shorter: int, side: int) -> np.ndarray:
  """Returns the central square of `side` pixels of an image resized to a shorter side of `shorter` pixels."""
  if image.shape[:2] == (side, side) == (shorter, shorter):
    return image
  from resjax.data.image_decoder import crop  # needs the extra imagenet, which CIFAR does not

  return crop(image, shorter, side).reshape(side, side, -1)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
  """Returns the image in another size, enlarged by bilinear interpolation or reduced by averaging over pixel areas."""
  if image.shape[:2] == (height, width):
    return image
  import cv2

  shrinks = height * width < image.shape[0] * image.shape[1]
  method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  return cv2.resize(image, (width, height), interpolation=method).reshape(height, width, -1)


def one_input(views: jax.Array, statistics: Statistics, size: Size) -> jax.Array:
  """Returns the normalized views as their only inputs, float32 [1, B, h, w, C]."""
  return normalize(views, match_shape(statistics, views.shape[1:]))[None]


def ten_inputs(views: jax.Array, statistics: Statistics, size: Size) -> jax.Array:
  """Returns the four corner crops, the center crop and their mirror images, float32 [10, B, side, side, C]."""
  side = size.side
  if size.shorter == side:  # as in training, the mean image is subtracted before the crop
    pad = (size.pad, size.pad)
    corners = _corners(jnp.pad(normalize(views, statistics), ((0, 0), pad, pad, (0, 0))), side)
  else:
    corners = normalize(_corners(views, side), statistics)
  return _with_mirrors(corners)


def mirrored_inputs(views: jax.Array, statistics: Statistics, size: Size) -> jax.Array:
  """Returns the normalized views and their mirror images, float32 [2, B, h, w, C]."""
  return _with_mirrors(one_input(views, statistics, size))


def match_shape(statistics: Statistics, shape: tuple[int, ...]) -> Statistics:
  """Returns statistics for images of a shape: a mean image of another shape is replaced by its channel means."""
  mean = jnp.asarray(statistics.mean)
  return statistics if mean.ndim == 1 or mean.shape == shape else Statistics(mean.mean((0, 1)), statistics.std)


def _corners(images: jax.Array, side: int) -> jax.Array:
  """Returns the corner and center crops of square images, [5, B, side, side, C]."""
  rest = images.shape[1] - side
  corners = ((0, 0), (0, rest), (rest, 0), (rest, rest), (rest // 2, rest // 2))
  return jnp.stack([images[:, top : top + side, left : left + side] for top, left in corners])


def _with_mirrors(images: jax.Array) -> jax.Array:
  return jnp.concatenate([images, images[:, :, :, ::-1]])


PROTOCOLS = {
  "single": Protocol(lambda size: size.shorter, single_view, one_input, 1, ("shorter",)),
  "10crop": Protocol(lambda size: size.shorter, ten_crop_view, ten_inputs, 10, ("shorter", "pad")),
  "multiscale": Protocol(lambda size: SIDES[-1] * size.side // CROP, scale_views, mirrored_inputs, 2, ("stride",)),
}
