"""What of an image a net is shown at test (Sec. 3.4): its centre, ten crops, or the whole at several sizes.

A protocol has two halves. On the host an image of any size becomes views, uint8 arrays of few shapes; on the device a
batch of views of one shape becomes the net's inputs, normalised. An image gets the mean of the probabilities of all its
inputs.

- single: the centre crop of the net's size, of the image resized to the shorter side that training tests at.
- 10crop: four corners and the centre of the middle square of that image, and their mirrors (as AlexNet, the paper's
  reference for it). Where images are resized to the net's very size, as CIFAR is, the crops are those of the
  zero-padded image, which training saw (Sec. 4.2).
- multiscale: the whole image with shorter sides of 224, 256, 384, 480 and 640 pixels where the net's size is 224, else
  in that proportion, and its mirror, through the net as it is: its last pooling takes the mean of a larger map. The
  longer side becomes the multiple of the net's whole stride (32 pixels) that is nearest to keeping the aspect. So the
  last map covers the image exactly, and thousands of photographs come in some dozens of shapes, each compiled once.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from resjax.data.augment import Statistics, normalize

CROP, SIDES = 224, (224, 256, 384, 480, 640)  # the paper's size, and its shorter sides
LONGEST = 4  # times the shorter side; of a longer image several scales show the middle


@dataclasses.dataclass(frozen=True)
class Size:
  """What of a net matters to its images.

  Attributes:
    side: pixels of the square images it takes in training.
    shorter: pixels of the shorter side, to which an image is resized before its crop; `side`: no more than the crop.
    pad: pixels of zeros on each side of an image from which training takes its crops, where there is no more.
    stride: pixels of the image to one of the last map.
  """

  side: int
  shorter: int
  pad: int
  stride: int


@dataclasses.dataclass(frozen=True)
class Protocol:
  """A protocol.

  Attributes:
    shorter: the shorter side, in pixels, that an image need not exceed.
    views: on the host, from an image, uint8 [H, W, C], to its views.
    inputs: on the device, from views of one shape, uint8 [B, h, w, C], to K inputs of each, float32 [K, B, h', w', C].
    crops: K.
  """

  shorter: Callable[[Size], int]
  views: Callable[[np.ndarray, Size], list[np.ndarray]]
  inputs: Callable[[jax.Array, Statistics, Size], jax.Array]
  crops: int


def single_view(image: np.ndarray, size: Size) -> list[np.ndarray]:
  """The crop."""
  return [cropped(image, size.shorter, size.side)]


def ten_crop_view(image: np.ndarray, size: Size) -> list[np.ndarray]:
  """The square that the crops are taken from."""
  return [cropped(image, size.shorter, size.shorter)]


def scale_views(image: np.ndarray, size: Size) -> list[np.ndarray]:
  """The whole image at each of the scales."""
  limit = LONGEST * min(image.shape[:2])
  top, left = (max(length - limit, 0) // 2 for length in image.shape[:2])
  image = image[top : top + limit, left : left + limit]
  height, width = image.shape[:2]
  views = []
  for side in SIDES:
    factor = side * size.side / CROP / min(height, width)
    views.append(resized(image, *(max(round(n * factor / size.stride), 1) * size.stride for n in (height, width))))
  return views


def cropped(image: np.ndarray, shorter: int, side: int) -> np.ndarray:
  """Returns the centre square of `side` pixels of the image with a shorter side of `shorter`."""
  if image.shape[:2] == (side, side) == (shorter, shorter):
    return image
  from resjax.data.image_decoder import crop  # needs the extra imagenet, which CIFAR does without

  return crop(image, shorter, side).reshape(side, side, -1)


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
  """Returns the image in another size: enlarged bilinearly, shrunk by the mean over the pixels' areas."""
  if image.shape[:2] == (height, width):
    return image
  import cv2

  shrinks = height * width < image.shape[0] * image.shape[1]
  method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  return cv2.resize(image, (width, height), interpolation=method).reshape(height, width, -1)


def one_input(views: jax.Array, statistics: Statistics, size: Size) -> jax.Array:
  """The view."""
  return normalize(views, fitting(statistics, views.shape[1:]))[None]


def ten_inputs(views: jax.Array, statistics: Statistics, size: Size) -> jax.Array:
  """Four corners and the centre, and their mirrors."""
  side = size.side
  if size.shorter == side:  # in training, too, the mean image is subtracted before the crop
    pad = (size.pad, size.pad)
    corners = _corners(jnp.pad(normalize(views, statistics), ((0, 0), pad, pad, (0, 0))), side)
  else:
    corners = normalize(_corners(views, side), statistics)
  return _with_mirrors(corners)


def mirrored_inputs(views: jax.Array, statistics: Statistics, size: Size) -> jax.Array:
  """The view and its mirror."""
  return _with_mirrors(one_input(views, statistics, size))


def fitting(statistics: Statistics, shape: tuple[int, ...]) -> Statistics:
  """Returns statistics for images of this shape: of a mean image of another one, its mean a channel."""
  mean = jnp.asarray(statistics.mean)
  return statistics if mean.ndim == 1 or mean.shape == shape else Statistics(mean.mean((0, 1)), statistics.std)


def _corners(images: jax.Array, side: int) -> jax.Array:
  """Returns the crops [5, B, side, side, C] of square images."""
  rest = images.shape[1] - side
  places = ((0, 0), (0, rest), (rest, 0), (rest, rest), (rest // 2, rest // 2))
  return jnp.stack([images[:, top : top + side, left : left + side] for top, left in places])


def _with_mirrors(images: jax.Array) -> jax.Array:
  return jnp.concatenate([images, images[:, :, :, ::-1]])


PROTOCOLS = {
  "single": Protocol(lambda size: size.shorter, single_view, one_input, 1),
  "10crop": Protocol(lambda size: size.shorter, ten_crop_view, ten_inputs, 10),
  "multiscale": Protocol(lambda size: SIDES[-1] * size.side // CROP, scale_views, mirrored_inputs, 2),
}
