"""Minibatches of resized, padded images with boxes, decoded by worker processes. Does not use JAX.

Images are grouped by aspect ratio, landscape or portrait, so that few shapes are compiled. The images of a step are a
pure function of (seed, step): each group is an endless sequence of random permutations, and the groups alternate in
proportion to their sizes.
"""

import dataclasses
import typing
from collections.abc import Sequence

import cv2
import numpy as np

from resjax.config import Detection
from resjax.data.annotated_images import AnnotatedImage
from resjax.data.files import Encoded, Unreadable
from resjax.data.image_decoder import decode
from resjax.data.random_crops import crops, order
from resjax.settings import ConfigError

SIZE_MULTIPLE = 32  # height and width of padded images are multiples of it
MAX_BROKEN = 1000  # successive images that cannot be decoded, after which training stops
GROUP_SEED_OFFSET = 0x9E3779B97F4A7C15  # difference between the seeds of the groups

Shape = tuple[int, int]


class Minibatch(typing.NamedTuple):
  """Share of one host of a minibatch of images of one shape.

  Attributes:
    pixels: Images, uint8 [B, H, W, 3], padded with 0 below and on the right.
    sizes: Height and width of the images without the padding, int32 [B, 2].
    boxes: Boxes of the objects in pixels of the resized image, float32 [B, M, 4].
    labels: Classes of the boxes, int32 [B, M]; 0: padding.
    ignored: Whether a box is ignored in training and evaluation, bool [B, M].
    indices: Index of each image in the data set, int32 [B]; -1: no image.
    faults: Descriptions of the images that could not be decoded.
  """

  pixels: np.ndarray
  sizes: np.ndarray
  boxes: np.ndarray
  labels: np.ndarray
  ignored: np.ndarray
  indices: np.ndarray
  faults: tuple[str, ...]


def resized_size(height: int, width: int, settings: Detection) -> Shape:
  """Returns height and width of a resized image.

  The shorter side becomes `shorter_side`, or less where the longer side would exceed `longer_side`.

  Args:
    height: Height of the image in pixels.
    width: Width of the image in pixels.
    settings: Settings of the detector.
  """
  scale = min(settings.shorter_side / min(height, width), settings.longer_side / max(height, width))
  return max(round(height * scale), 1), max(round(width * scale), 1)


class AspectGroups:
  """Groups of images of a data set by aspect ratio: landscape and square images, and portrait images.

  Attributes:
    members: Indices of the images of each group in the data set, int64 [N_g] each.
    shapes: Height and width to which the images of each group are padded.
  """

  def __init__(self, images: Sequence[AnnotatedImage], settings: Detection):
    """Groups the images.

    Args:
      images: Images of the data set.
      settings: Settings of the detector.
    """
    sides = np.array([resized_size(image.height, image.width, settings) for image in images])
    portrait = sides[:, 0] > sides[:, 1]
    found = [np.flatnonzero(mask) for mask in (~portrait, portrait)]
    self.members = [group for group in found if len(group)]
    longest = -(-sides.max(1).max() // SIZE_MULTIPLE) * SIZE_MULTIPLE
    shortest = -(-sides.min(1).max() // SIZE_MULTIPLE) * SIZE_MULTIPLE
    shapes = [(int(shortest), int(longest)), (int(longest), int(shortest))]
    self.shapes = [shape for shape, group in zip(shapes, found, strict=True) if len(group)]

  def group_at(self, step: int) -> tuple[int, int]:
    """Returns the index of the group that a step takes its minibatch from, and the number of earlier steps of it."""
    if len(self.members) == 1:
      return 0, step
    total, second = sum(map(len, self.members)), len(self.members[1])
    before, after = step * second // total, (step + 1) * second // total
    return (1, before) if after > before else (0, step - before)


@dataclasses.dataclass(frozen=True)
class TrainBatches:
  """Minibatches of training images as a function of the step.

  Attributes:
    images: Images of the training set.
    groups: The images grouped by aspect ratio.
    settings: Settings of the detector.
    seed: Seed of the order of the images and of their horizontal flips.
    batch_size: Number of images per minibatch, over all hosts.
    mirror: Whether half of the images are flipped horizontally.
    host: Index of this host.
    hosts: Number of hosts that share a minibatch.
  """

  images: tuple[AnnotatedImage, ...]
  groups: AspectGroups
  settings: Detection
  seed: int
  batch_size: int
  mirror: bool
  host: int = 0
  hosts: int = 1

  def __call__(self, step: int) -> Minibatch:
    """Returns this host's share of the minibatch of a step; the next readable image replaces an unreadable one.

    Raises:
      Unreadable: Too many successive images cannot be decoded.
    """
    group, place = self.groups.group_at(step)
    members, shape = self.groups.members[group], self.groups.shapes[group]
    seed = (self.seed + group * GROUP_SEED_OFFSET) % 2**64
    share = self.batch_size // self.hosts
    first = place * self.batch_size + self.host * share
    mirrored = crops(seed, first, share, (1, 1), self.mirror).mirrored
    faults: list[str] = []
    rows = [self._next_readable(seed, members, first + i, shape, bool(mirrored[i]), faults) for i in range(share)]
    return concatenate(rows, faults)

  def _next_readable(
    self, seed: int, members: np.ndarray, position: int, shape: Shape, mirror: bool, faults: list[str]
  ) -> Minibatch:
    for place in range(position, position + MAX_BROKEN):
      index = int(members[order(seed, place, 1, len(members))[0]])
      try:
        return single_example(self.images[index], index, shape, self.settings, mirror)
      except Unreadable as error:
        faults.append(str(error))
    raise Unreadable(f"{MAX_BROKEN} successive images cannot be decoded; the last: {faults[-1]}")


@dataclasses.dataclass(frozen=True)
class TestBatches:
  """Minibatches that cover all images of a data set once; attributes as in `TrainBatches`."""

  images: tuple[AnnotatedImage, ...]
  groups: AspectGroups
  settings: Detection
  batch_size: int
  host: int = 0
  hosts: int = 1

  @property
  def batch_starts(self) -> list[tuple[int, int]]:
    """Group and position in the group of the first image of each minibatch; the last one of a group may be smaller."""
    return [
      (group, first)
      for group, members in enumerate(self.groups.members)
      for first in range(0, len(members), self.batch_size)
    ]

  def __call__(self, number: int) -> Minibatch:
    """Returns this host's share of a minibatch; the index is -1 where an image is unreadable or missing.

    Args:
      number: Index of the minibatch in `batch_starts`.
    """
    group, first = self.batch_starts[number]
    shape, places = self.groups.shapes[group], self.groups.members[group][first : first + self.batch_size]
    share = self.batch_size // self.hosts
    own = places[self.host * share : (self.host + 1) * share]
    rows, faults = [], []
    for index in own.tolist():
      try:
        rows.append(single_example(self.images[index], index, shape, self.settings, False))
      except Unreadable as error:
        faults.append(str(error))
    rows += [empty_example(shape, self.settings.objects)] * (share - len(rows))
    return concatenate(rows, faults)


def check_objects(images: Sequence[AnnotatedImage], settings: Detection) -> None:
  """Checks that all boxes of each training image fit into a minibatch.

  A box that was left out would be trained as background, so that there is no good choice of boxes to leave out.

  Args:
    images: Training images.
    settings: Settings of the detector.

  Raises:
    ConfigError: An image has more boxes than `detection.objects`.
  """
  over = [image for image in images if len(image.boxes) > settings.objects]
  if over:
    most = max(over, key=lambda image: len(image.boxes))
    raise ConfigError(
      f"detection.objects = {settings.objects}: must be at least {len(most.boxes)}, the number of boxes in "
      f"{most.name} ({len(over)} training images have more than {settings.objects})"
    )


def single_example(image: AnnotatedImage, index: int, shape: Shape, settings: Detection, mirror: bool) -> Minibatch:
  """Decodes, resizes and pads an image.

  Args:
    image: Path and annotation of the image.
    index: Index of the image in the data set.
    shape: Height and width to which it is padded.
    settings: Settings of the detector.
    mirror: Whether the image is flipped horizontally.

  Returns:
    Minibatch of this image.

  Raises:
    Unreadable: The file cannot be read or decoded, or its size differs from that of the annotation.
  """
  try:
    content = image.path.read_bytes()
  except OSError as error:
    raise Unreadable(f"{image.name}: {error.strerror}") from None
  height, width = resized_size(image.height, image.width, settings)
  pixels = decode(Encoded(image.name, content, 0), min(height, width))
  # The decoder may have decoded a JPEG at a fraction of its size, so only the aspect ratio can be compared.
  ratio = pixels.shape[0] * image.width / (pixels.shape[1] * image.height)
  if pixels.shape[0] > image.height or not 0.97 < ratio < 1.03:
    raise Unreadable(
      f"{image.name}: has {pixels.shape[0]} x {pixels.shape[1]} pixels, but {image.height} x {image.width} in its "
      "annotation"
    )
  shrinks = pixels.shape[0] > height
  pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
  boxes = image.boxes * np.array([width / image.width, height / image.height] * 2, np.float32)
  if mirror:
    pixels, boxes = pixels[:, ::-1], np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
  row = empty_example(shape, settings.objects)
  count = min(len(boxes), settings.objects)  # the boxes of test images, which may be more, are not used
  row.pixels[0, :height, :width] = pixels
  row.sizes[0] = height, width
  row.boxes[0, :count], row.labels[0, :count] = boxes[:count], image.labels[:count]
  row.ignored[0, :count], row.indices[0] = image.ignored[:count], index
  return row


def empty_example(shape: Shape, objects: int) -> Minibatch:
  """Returns a minibatch of one placeholder: index -1, no boxes, and a size of one pixel."""
  return Minibatch(
    np.zeros((1, *shape, 3), np.uint8),
    np.ones((1, 2), np.int32),
    np.zeros((1, objects, 4), np.float32),
    np.zeros((1, objects), np.int32),
    np.zeros((1, objects), bool),
    np.full(1, -1, np.int32),
    (),
  )


def concatenate(rows: Sequence[Minibatch], faults: Sequence[str]) -> Minibatch:
  """Returns the concatenation of minibatches of one shape.

  Args:
    rows: Minibatches.
    faults: Descriptions of the images that could not be decoded.
  """
  arrays = {name: np.concatenate([getattr(row, name) for row in rows]) for name in Minibatch._fields[:-1]}
  return Minibatch(**arrays, faults=tuple(faults))
