"""Detection in all images of a data set, and merging of the detections of several passes over an image.

A pass has one detector and one image size. What is merged are its final detections. The paper's appendix merges
earlier: over sizes by the maximum of the features of two adjacent ones, and in ensembles by the union of the proposals
and the mean of the classifiers.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding

from resjax import config, mesh
from resjax.data.annotated_images import AnnotatedImage
from resjax.data.augment import Statistics
from resjax.data.batch_stream import in_order
from resjax.detection.average_precision import ImageDetections, iou
from resjax.detection.batches import AspectGroups, Minibatch, TestBatches
from resjax.detection.forward import Images, detect
from resjax.detection.network import Detector

SCALES = (1 / 3, 2 / 3, 1.0, 4 / 3, 5 / 3)  # factors of the shorter side: the paper's 200 to 1,000 pixels from 600

detect_batch = jax.jit(detect, static_argnames="detector")


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """A detector and how it is applied to images, on the devices of the current mesh.

  Attributes:
    detector: Layers and settings of the detector.
    statistics: Mean and standard deviation with which pixels are normalized.
    batch_size: Number of images per forward pass.
    workers: Number of processes that decode images.
  """

  detector: Detector
  statistics: Statistics
  batch_size: int
  workers: int

  def detect(
    self, variables: Any, images: tuple[AnnotatedImage, ...], faults: dict[str, None]
  ) -> list[ImageDetections | None]:
    """Returns the detections in each image, in pixels of the image file; None where it cannot be decoded.

    Args:
      variables: Collections `params` and `batch_stats` of the detector.
      images: Images of the data set.
      faults: Ordered set (the keys) to which the descriptions of unreadable images are added.
    """
    found: list[ImageDetections | None] = [None] * len(images)
    for batch in self._batches(images):
      faults |= dict.fromkeys(batch.faults)
      sizes, indices = _shard(batch.sizes), _shard(batch.indices)
      result = detect_batch(self.detector, variables, self.statistics, Images(_shard(batch.pixels), sizes))
      arrays = jax.device_get(mesh.gather((result.boxes, result.scores, result.labels, sizes, indices)))
      for boxes, scores, labels, size, index in zip(*arrays, strict=True):
        if index >= 0:
          image, there = images[index], labels > 0
          scale = np.array([image.width / size[1], image.height / size[0]] * 2)
          found[index] = ImageDetections(boxes[there] * scale, scores[there], labels[there])
    return found

  def at_scale(self, scale: float) -> "Evaluator":
    """Returns an evaluator that resizes images to sides longer by the factor `scale`."""
    settings = self.detector.detection
    sides = {key: max(round(getattr(settings, key) * scale), 16) for key in ("shorter_side", "longer_side")}
    return dataclasses.replace(self, detector=self.detector.clone(detection=dataclasses.replace(settings, **sides)))

  def _batches(self, images: tuple[AnnotatedImage, ...]) -> Iterator[Minibatch]:
    """Yields this host's share of the minibatches of all images."""
    settings = self.detector.detection
    batches = TestBatches(
      images, AspectGroups(images, settings), settings, self.batch_size, jax.process_index(), jax.process_count()
    )
    yield from in_order(batches, 0, len(batches.batch_starts), self.workers)


def merge_detections(parts: Sequence[ImageDetections], settings: config.Detection) -> ImageDetections:
  """Merges the final detections of several passes over one image by non-maximum suppression per class.

  With `box_voting`, a detection that is kept becomes the mean of all detections of its class that have an IoU of at
  least 0.5 with it, weighted by their scores.

  Args:
    parts: Detections of each pass.
    settings: Settings of the detector.
  """
  boxes, scores, labels = (
    np.concatenate([getattr(each, key) for each in parts]) for key in ("boxes", "scores", "labels")
  )
  kept: list[int] = []
  merged = boxes.astype(float)
  for index in np.argsort(-scores, kind="stable"):
    same = [other for other in kept if labels[other] == labels[index]]
    if not same or iou(boxes[index], boxes[same]).max() <= settings.overlap:
      kept.append(int(index))
      weights = np.where((labels == labels[index]) & (iou(boxes[index], boxes) >= 0.5), scores, 0)
      if settings.box_voting and weights.any():
        merged[index] = np.average(boxes, axis=0, weights=weights)
  kept = kept[: settings.detections]
  return ImageDetections(merged[kept], scores[kept], labels[kept])


def _shard(array: np.ndarray) -> jax.Array:
  """Returns the global minibatch, sharded over all devices, from the share of this host."""
  split = NamedSharding(jax.sharding.get_mesh(), mesh.batch_spec())
  return jax.make_array_from_process_local_data(split, array)
