"""Minibatches of resized, padded images with boxes, decoded by worker processes. Nothing here knows JAX.

Images are grouped by aspect, landscape or portrait, so that few shapes are compiled. Which images make up a step is
arithmetic on (seed, step): each group is an endless stream of random permutations, and the groups take turns in
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

MULTIPLE = 32  # of which the sides of a padded image are multiples
MOST_BROKEN = 1000  # images in a row that may be broken
GROUP_SEED = 0x9E3779B97F4A7C15  # between the seeds of the groups' streams

Shape = tuple[int, int]


class Minibatch(typing.NamedTuple):
  """A host's part of a minibatch of images of one shape.

  Attributes:
    pixels: uint8 [B, H, W, 3], padded below and on the right with 0.
    sizes: int32 [B, 2], height and width without the padding.
    boxes: float32 [B, M, 4], in pixels of the resized image.
    labels: int32 [B, M]; 0: padding.
    ignored: bool [B, M].
    indices: int32 [B], place of the image in its set; -1: no image.
    faults: Descriptions of the broken images that were met.
  """

  pixels: np.ndarray
  sizes: np.ndarray
  boxes: np.ndarray
  labels: np.ndarray
  ignored: np.ndarray
  indices: np.ndarray
  faults: tuple[str, ...]


def resized(height: int, width: int, settings: Detection) -> Shape:
  """Returns the size of a resized image: `shorter_side`, or less where the longer side would exceed `longer_side`."""
  scale = min(settings.shorter_side / min(height, width), settings.longer_side / max(height, width))
  return max(round(height * scale), 1), max(round(width * scale), 1)


class Groups:
  """Images of a set, grouped by aspect.

  Attributes:
    members: int64 [N_g] for each group, places of its images in the set.
    shapes: Height and width to which the images of each group are padded.
  """

  def __init__(self, images: Sequence[AnnotatedImage], settings: Detection):
    """Groups the images.

    Args:
      images: The set.
      settings: Settings of the detector.
    """
    sides = np.array([resized(image.height, image.width, settings) for image in images])
    portrait = sides[:, 0] > sides[:, 1]
    found = [np.flatnonzero(mask) for mask in (~portrait, portrait)]
    self.members = [group for group in found if len(group)]
    longest = -(-sides.max(1).max() // MULTIPLE) * MULTIPLE
    shortest = -(-sides.min(1).max() // MULTIPLE) * MULTIPLE
    shapes = [(int(shortest), int(longest)), (int(longest), int(shortest))]
    self.shapes = [shape for shape, group in zip(shapes, found, strict=True) if len(group)]

  def at(self, step: int) -> tuple[int, int]:
    """Returns the group of a step, and how many steps before had the same group."""
    if len(self.members) == 1:
      return 0, step
    total, second = sum(map(len, self.members)), len(self.members[1])
    before, after = step * second // total, (step + 1) * second // total
    return (1, before) if after > before else (0, step - before)


@dataclasses.dataclass(frozen=True)
class TrainSteps:
  """Minibatches to train on, by step.

  Attributes:
    images: The training set.
    groups: The images by aspect.
    settings: Settings of the detector.
    seed: Seed of the order and of the mirrored images.
    batch_size: Images per minibatch, over all hosts.
    mirror: Whether half of the images are mirrored.
    host, hosts: Place of this host among those that share a minibatch, and their number.
  """

  images: tuple[AnnotatedImage, ...]
  groups: Groups
  settings: Detection
  seed: int
  batch_size: int
  mirror: bool
  host: int = 0
  hosts: int = 1

  def __call__(self, step: int) -> Minibatch:
    """Returns the host's part of the minibatch of a step; a broken image is replaced by the next sound one.

    Raises:
      Unreadable: Too many images in a row are broken.
    """
    group, place = self.groups.at(step)
    members, shape = self.groups.members[group], self.groups.shapes[group]
    seed = (self.seed + group * GROUP_SEED) % 2**64
    share = self.batch_size // self.hosts
    first = place * self.batch_size + self.host * share
    mirrored = crops(seed, first, share, (1, 1), self.mirror).mirrored
    faults: list[str] = []
    rows = [self._sound(seed, members, first + i, shape, bool(mirrored[i]), faults) for i in range(share)]
    return joined(rows, faults)

  def _sound(
    self, seed: int, members: np.ndarray, position: int, shape: Shape, mirror: bool, faults: list[str]
  ) -> Minibatch:
    for place in range(position, position + MOST_BROKEN):
      index = int(members[order(seed, place, 1, len(members))[0]])
      try:
        return example(self.images[index], index, shape, self.settings, mirror)
      except Unreadable as error:
        faults.append(str(error))
    raise Unreadable(f"{MOST_BROKEN} images in a row cannot be decoded; the last: {faults[-1]}")


@dataclasses.dataclass(frozen=True)
class TestBatches:
  """All images of a set, in minibatches of one shape; arguments as in `TrainSteps`."""

  images: tuple[AnnotatedImage, ...]
  groups: Groups
  settings: Detection
  batch_size: int
  host: int = 0
  hosts: int = 1

  @property
  def pieces(self) -> list[tuple[int, int]]:
    """Group, and place in the group of the first image, of each minibatch; the last of a group may be smaller."""
    return [
      (group, first)
      for group, members in enumerate(self.groups.members)
      for first in range(0, len(members), self.batch_size)
    ]

  def __call__(self, number: int) -> Minibatch:
    """Returns the host's part of a minibatch; where an image is broken or there is none, the index is -1."""
    group, first = self.pieces[number]
    shape, places = self.groups.shapes[group], self.groups.members[group][first : first + self.batch_size]
    share = self.batch_size // self.hosts
    own = places[self.host * share : (self.host + 1) * share]
    rows, faults = [], []
    for index in own.tolist():
      try:
        rows.append(example(self.images[index], index, shape, self.settings, False))
      except Unreadable as error:
        faults.append(str(error))
    rows += [empty(shape, self.settings.objects)] * (share - len(rows))
    return joined(rows, faults)


def example(image: AnnotatedImage, index: int, shape: Shape, settings: Detection, mirror: bool) -> Minibatch:
  """Returns a minibatch of one image.

  Args:
    image: The image.
    index: Its place in the set.
    shape: Height and width to pad to.
    settings: Settings of the detector.
    mirror: Whether left and right change places.

  Raises:
    Unreadable: The file cannot be read or decoded, or its size is not that of its annotation.
  """
  try:
    content = image.path.read_bytes()
  except OSError as error:
    raise Unreadable(f"{image.name}: {error.strerror}") from None
  height, width = resized(image.height, image.width, settings)
  pixels = decode(Encoded(image.name, content, 0), min(height, width))
  # A JPEG may have been decoded at a fraction of its size.
  ratio = pixels.shape[0] * image.width / (pixels.shape[1] * image.height)
  if pixels.shape[0] > image.height or not 0.97 < ratio < 1.03:
    raise Unreadable(
      f"{image.name}: has {pixels.shape[0]} x {pixels.shape[1]} pixels, its annotation {image.height} x {image.width}"
    )
  shrinks = pixels.shape[0] > height
  pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
  boxes = image.boxes * np.array([width / image.width, height / image.height] * 2, np.float32)
  if mirror:
    pixels, boxes = pixels[:, ::-1], np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
  row = empty(shape, settings.objects)
  count = min(len(boxes), settings.objects)
  row.pixels[0, :height, :width] = pixels
  row.sizes[0] = height, width
  row.boxes[0, :count], row.labels[0, :count] = boxes[:count], image.labels[:count]
  row.ignored[0, :count], row.indices[0] = image.ignored[:count], index
  return row


def empty(shape: Shape, objects: int) -> Minibatch:
  """Returns a minibatch of one image that is none: of one pixel, without boxes."""
  return Minibatch(
    np.zeros((1, *shape, 3), np.uint8),
    np.ones((1, 2), np.int32),
    np.zeros((1, objects, 4), np.float32),
    np.zeros((1, objects), np.int32),
    np.zeros((1, objects), bool),
    np.full(1, -1, np.int32),
    (),
  )


def joined(rows: Sequence[Minibatch], faults: Sequence[str]) -> Minibatch:
  """Returns minibatches of one shape as one, with the faults that were met."""
  arrays = {name: np.concatenate([getattr(row, name) for row in rows]) for name in Minibatch._fields[:-1]}
  return Minibatch(**arrays, faults=tuple(faults))
