"""Detectors on all images of a set: one, or several at several sizes whose detections are merged (appendix)."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from resjax import mesh
from resjax.data.annotated_images import AnnotatedImage
from resjax.data.augment import Statistics
from resjax.data.batch_stream import in_order
from resjax.detection.average_precision import Found, overlaps
from resjax.detection.batches import Groups, Minibatch, TestBatches
from resjax.detection.forward import Images, detect
from resjax.detection.network import Detector

SCALES = (1 / 3, 2 / 3, 1.0, 4 / 3, 5 / 3)  # of the shorter side: 200 to 1,000 pixels where it is 600, as in the paper

detect_batch = jax.jit(detect, static_argnames="detector")


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """How a detector is run on images, on the devices of the current mesh.

  Attributes:
    detector: The detector.
    statistics: Mean and standard deviation that pixels are normalized with.
    batch_size: Images per forward pass.
    workers: Number of processes that decode images.
  """

  detector: Detector
  statistics: Statistics
  batch_size: int
  workers: int

  def detect(self, variables: Any, images: tuple[AnnotatedImage, ...], faults: dict[str, None]) -> list[Found | None]:
    """Returns the detections in each image, in pixels of its file; None where it cannot be decoded.

    Args:
      variables: `params` and `batch_stats` of the detector.
      images: The images.
      faults: Where the descriptions of broken images are added, as keys.
    """
    found: list[Found | None] = [None] * len(images)
    for batch in self._batches(images):
      faults |= dict.fromkeys(batch.faults)
      sizes, indices = _spread(batch.sizes), _spread(batch.indices)
      result = detect_batch(self.detector, variables, self.statistics, Images(_spread(batch.pixels), sizes))
      arrays = jax.device_get(mesh.gather((result.boxes, result.scores, result.labels, sizes, indices)))
      for boxes, scores, labels, size, index in zip(*arrays, strict=True):
        if index >= 0:
          image, there = images[index], labels > 0
          scale = np.array([image.width / size[1], image.height / size[0]] * 2)
          found[index] = Found(boxes[there] * scale, scores[there], labels[there])
    return found

  def at(self, scale: float) -> "Evaluator":
    """Returns an evaluator of images whose sides are longer by a factor."""
    settings = self.detector.detection
    sides = {key: max(round(getattr(settings, key) * scale), 16) for key in ("shorter_side", "longer_side")}
    return dataclasses.replace(self, detector=self.detector.clone(detection=dataclasses.replace(settings, **sides)))

  def _batches(self, images: tuple[AnnotatedImage, ...]) -> Iterator[Minibatch]:
    """Yields all images in minibatches of few shapes."""
    settings = self.detector.detection
    batches = TestBatches(
      images, Groups(images, settings), settings, self.batch_size, jax.process_index(), jax.process_count()
    )
    yield from in_order(batches, 0, len(batches.pieces), self.workers)


def merge(parts: Sequence[Found], overlap: float, most: int) -> Found:
  """Returns the detections of several passes over one image: suppression within each class, then box voting.

  Args:
    parts: Detections of each pass.
    overlap: Overlap above which the less probable detection of the same class is suppressed.
    most: Number of detections at most.
  """
  boxes, scores, labels = (
    np.concatenate([getattr(each, key) for each in parts]) for key in ("boxes", "scores", "labels")
  )
  kept: list[int] = []
  voted = boxes.astype(float)
  for index in np.argsort(-scores, kind="stable"):
    same = [other for other in kept if labels[other] == labels[index]]
    if not same or overlaps(boxes[index], boxes[same]).max() <= overlap:
      kept.append(int(index))
      near = (labels == labels[index]) & (overlaps(boxes[index], boxes) >= 0.5)
      voted[index] = np.average(boxes[near], axis=0, weights=scores[near])
  kept = kept[:most]
  return Found(voted[kept], scores[kept], labels[kept])


def _spread(array: np.ndarray) -> jax.Array:
  """Returns the global batch, split over all devices, from the part of this host."""
  split = NamedSharding(jax.sharding.get_mesh(), mesh.batch_spec())
  return jax.make_array_from_process_local_data(split, array)
