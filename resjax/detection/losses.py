"""The joint loss of a detector: objectness and boxes of anchors, classes and boxes of regions (Ren et al. 2015)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from resjax import config
from resjax.detection import boxes
from resjax.detection.matching import GroundTruth, match, sample

PROPOSAL_BETA = 1 / 9  # where the smooth L1 loss of anchors turns from square to linear
REGION_BETA = 1.0  # the same for regions
POSITIVE_ANCHORS, NEGATIVE_ANCHORS = 0.7, 0.3  # overlaps


class Regions(NamedTuple):
  """The regions of one image that the second stage is trained on.

  Attributes:
    boxes: float32 [R, 4].
    labels: int32 [R], 0: background.
    targets: float32 [R, 4], regression targets; used where the label is not 0.
    valid: bool [R].
  """

  boxes: jax.Array
  labels: jax.Array
  targets: jax.Array
  valid: jax.Array


def smooth_l1(errors: jax.Array, beta: float) -> jax.Array:
  """Returns the smooth L1 loss of each error: squared below `beta`, linear above."""
  sizes = jnp.abs(errors)
  return jnp.where(sizes < beta, sizes * sizes / (2 * beta), sizes - beta / 2)


def proposal_loss(
  settings: config.Detection,
  anchors: jax.Array,
  key: jax.Array,
  outputs: tuple[jax.Array, jax.Array],
  truth: GroundTruth,
  size: jax.Array,
) -> jax.Array:
  """Returns the loss of the region proposals of one image: cross entropy plus smooth L1, per sampled anchor.

  An anchor is positive if it overlaps an object by 0.7, or more than any other anchor does; negative below 0.3.

  Args:
    settings: Settings of the detector.
    anchors: float32 [N, 4].
    key: Random key of the sample.
    outputs: Objectness logits [N] and regression outputs [N, 4].
    truth: Boxes of the image.
    size: (height, width) of the image without its padding; anchors that cross its border are not trained.
  """
  (objectness, deltas), found = outputs, match(anchors, truth)
  inside = jnp.ones(len(anchors), bool) if settings.crossing_anchors else _inside(anchors, size)
  positive = ((found.overlaps >= POSITIVE_ANCHORS) | found.best) & inside
  negative = (found.overlaps < NEGATIVE_ANCHORS) & ~positive & ~found.excluded & inside
  count = min(settings.anchors, len(anchors))
  chosen, valid, is_positive = sample(key, positive, negative, count, max(count // 2, 1))
  return proposal_loss_of(
    objectness[chosen],
    deltas[chosen],
    boxes.encode(truth.boxes[found.indices[chosen]], anchors[chosen], boxes.PROPOSAL_WEIGHTS),
    is_positive,
    valid,
  )


def proposal_loss_of(
  objectness: jax.Array, deltas: jax.Array, targets: jax.Array, positive: jax.Array, valid: jax.Array
) -> jax.Array:
  """Returns the loss of sampled anchors, divided by their number.

  Args:
    objectness: Logits [A].
    deltas, targets: Regression outputs and targets [A, 4].
    positive: Which anchors are positive, bool [A].
    valid: Which anchors count, bool [A].
  """
  classes = optax.sigmoid_binary_cross_entropy(objectness, positive.astype(objectness.dtype))
  distances = smooth_l1(deltas - targets, PROPOSAL_BETA).sum(-1)
  total = jnp.where(valid, classes, 0).sum() + jnp.where(valid & positive, distances, 0).sum()
  return total / jnp.maximum(valid.sum(), 1)


def sample_regions(
  settings: config.Detection, key: jax.Array, proposals: jax.Array, valid: jax.Array, truth: GroundTruth
) -> Regions:
  """Returns the regions of one image to train on, a quarter of them objects where there are as many.

  The objects' own boxes are among the candidates. A region is an object's from an overlap of 0.5 on, and background
  from `background_overlap` up to that.

  Args:
    settings: Settings of the detector.
    key: Random key of the sample.
    proposals: float32 [P, 4].
    valid: Which proposals are there, bool [P].
    truth: Boxes of the image.
  """
  candidates = jnp.concatenate([proposals, truth.boxes])
  usable = jnp.concatenate([valid, truth.present])
  found = match(candidates, truth)
  positive = (found.overlaps >= 0.5) & usable
  negative = (found.overlaps < 0.5) & (found.overlaps >= settings.background_overlap) & ~found.excluded & usable
  count = min(settings.regions, len(candidates))
  chosen, counted, is_positive = sample(key, positive, negative, count, max(count // 4, 1))
  regions, objects = candidates[chosen], found.indices[chosen]
  return Regions(
    regions,
    jnp.where(is_positive, truth.labels[objects], 0),
    boxes.encode(truth.boxes[objects], _with_area(regions), boxes.REGION_WEIGHTS),
    counted,
  )


def region_loss(logits: jax.Array, deltas: jax.Array, regions: Regions) -> tuple[jax.Array, jax.Array]:
  """Returns the loss of the regions of one image, divided by their number, and the share of wrong classes.

  Args:
    logits: Class scores [R, classes + 1], background first.
    deltas: Regression outputs of each class [R, classes + 1, 4].
    regions: The regions.
  """
  count = jnp.maximum(regions.valid.sum(), 1)
  classes = optax.softmax_cross_entropy_with_integer_labels(logits, regions.labels)
  of_label = jnp.take_along_axis(deltas, regions.labels[:, None, None], 1)[:, 0]
  distances = smooth_l1(of_label - regions.targets, REGION_BETA).sum(-1)
  total = jnp.where(regions.valid, classes + jnp.where(regions.labels > 0, distances, 0), 0).sum()
  wrong = (regions.valid & (logits.argmax(-1) != regions.labels)).sum()
  return total / count, wrong / count


def _inside(anchors: jax.Array, size: jax.Array) -> jax.Array:
  """Returns which anchors do not cross the border of an image."""
  return (anchors[:, :2] >= 0).all(1) & (anchors[:, 2] <= size[1]) & (anchors[:, 3] <= size[0])


def _with_area(boxes_Nx4: jax.Array) -> jax.Array:
  """Returns boxes with sides of at least one hundredth of a pixel, so that targets relative to padding are finite."""
  return boxes_Nx4.at[:, 2:].max(boxes_Nx4[:, :2] + 0.01)
