"""Losses of a detector: objectness and boxes of anchors, classes and boxes of regions (Ren et al. 2015)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from resjax import config
from resjax.detection import boxes
from resjax.detection.matching import GroundTruth, match, sample

PROPOSAL_BETA = 1 / 9  # transition from the square to the linear part of the smooth L1 loss of anchors
REGION_BETA = 1.0  # the same for regions
POSITIVE_ANCHORS, NEGATIVE_ANCHORS = 0.7, 0.3  # smallest and largest IoU of positive and of negative anchors
POSITIVE_REGIONS = 0.5  # smallest IoU of positive regions


class Regions(NamedTuple):
  """Regions of one image on which the second stage is trained.

  Attributes:
    boxes: Boxes of the regions in pixels, float32 [R, 4].
    labels: Classes of the regions, int32 [R]; 0: background.
    targets: Regression targets, used where the label is not 0, float32 [R, 4].
    valid: Whether a region is part of the sample, bool [R].
  """

  boxes: jax.Array
  labels: jax.Array
  targets: jax.Array
  valid: jax.Array


def smooth_l1(errors: jax.Array, beta: float) -> jax.Array:
  """Returns the smooth L1 loss of each error: quadratic below `beta`, linear above (Girshick 2015)."""
  sizes = jnp.abs(errors)
  return jnp.where(sizes < beta, sizes * sizes / (2 * beta), sizes - beta / 2)


def proposal_loss(
  settings: config.Detection,
  anchors_Nx4: jax.Array,
  key: jax.Array,
  outputs: tuple[jax.Array, jax.Array],
  truth: GroundTruth,
  size: jax.Array,
) -> jax.Array:
  """Returns the loss of the region proposals of one image: cross-entropy plus smooth L1, the mean over sampled anchors.

  An anchor is positive if its IoU with an object is at least 0.7, or the highest of all trained anchors. It is negative
  if its IoU with every object is below 0.3.

  Args:
    settings: Settings of the detector.
    anchors_Nx4: Anchors, float32.
    key: Random key of the sample.
    outputs: Objectness logits [N] and regression outputs [N, 4].
    truth: Ground truth of the image.
    size: Height and width of the image without its padding, [2]. Anchors that cross the border of the image are not
      trained unless `crossing_anchors` is set.
  """
  objectness, deltas = outputs
  trained = jnp.ones(len(anchors_Nx4), bool) if settings.crossing_anchors else _inside(anchors_Nx4, size)
  found = match(anchors_Nx4, truth, trained)
  positive = (found.iou >= POSITIVE_ANCHORS) | found.best
  negative = (found.iou < NEGATIVE_ANCHORS) & ~positive & ~found.excluded & trained
  count = min(settings.anchors, len(anchors_Nx4))
  chosen, valid, is_positive = sample(key, positive, negative, count, max(count // 2, 1))
  return sampled_proposal_loss(
    objectness[chosen],
    deltas[chosen],
    boxes.encode(truth.boxes[found.indices[chosen]], anchors_Nx4[chosen], boxes.PROPOSAL_WEIGHTS),
    is_positive,
    valid,
  )


def sampled_proposal_loss(
  objectness_A: jax.Array, deltas_Ax4: jax.Array, targets_Ax4: jax.Array, positive_A: jax.Array, valid_A: jax.Array
) -> jax.Array:
  """Returns the loss of sampled anchors, the mean over the valid ones.

  Args:
    objectness_A: Objectness logits of the anchors.
    deltas_Ax4: Regression outputs of the anchors.
    targets_Ax4: Regression targets of the anchors.
    positive_A: Whether an anchor is positive, bool.
    valid_A: Whether an anchor is part of the sample, bool.
  """
  classes = optax.sigmoid_binary_cross_entropy(objectness_A, positive_A.astype(objectness_A.dtype))
  distances = smooth_l1(deltas_Ax4 - targets_Ax4, PROPOSAL_BETA).sum(-1)
  total = jnp.where(valid_A, classes, 0).sum() + jnp.where(valid_A & positive_A, distances, 0).sum()
  return total / jnp.maximum(valid_A.sum(), 1)


def sample_regions(
  settings: config.Detection, key: jax.Array, proposals_Px4: jax.Array, valid_P: jax.Array, truth: GroundTruth
) -> Regions:
  """Samples the regions of one image for training, at most a quarter of them positive.

  Candidates are the proposals and the ground truth boxes. A region is positive if its IoU with an object is at least
  0.5, and background if its highest IoU is between `background_overlap` and 0.5.

  Args:
    settings: Settings of the detector.
    key: Random key of the sample.
    proposals_Px4: Proposals, float32.
    valid_P: Whether a proposal is valid, bool.
    truth: Ground truth of the image.
  """
  candidates = jnp.concatenate([proposals_Px4, truth.boxes])
  usable = jnp.concatenate([valid_P, truth.present])
  found = match(candidates, truth, usable)
  positive = found.iou >= POSITIVE_REGIONS
  background = (found.iou < POSITIVE_REGIONS) & (found.iou >= settings.background_overlap)
  negative = background & ~found.excluded & usable
  count = min(settings.regions, len(candidates))
  chosen, counted, is_positive = sample(key, positive, negative, count, max(count // 4, 1))
  regions, objects = candidates[chosen], found.indices[chosen]
  return Regions(
    regions,
    jnp.where(is_positive, truth.labels[objects], 0),
    boxes.encode(truth.boxes[objects], _with_min_sides(regions), boxes.REGION_WEIGHTS),
    counted,
  )


def region_loss(logits_RxC: jax.Array, deltas_RxCx4: jax.Array, regions: Regions) -> tuple[jax.Array, jax.Array]:
  """Returns the loss of the regions of one image, the mean over the valid ones, and the fraction of wrong classes.

  Args:
    logits_RxC: Class logits, background first.
    deltas_RxCx4: Regression outputs of each class.
    regions: Sample of regions.
  """
  count = jnp.maximum(regions.valid.sum(), 1)
  classes = optax.softmax_cross_entropy_with_integer_labels(logits_RxC, regions.labels)
  of_label = jnp.take_along_axis(deltas_RxCx4, regions.labels[:, None, None], 1)[:, 0]
  distances = smooth_l1(of_label - regions.targets, REGION_BETA).sum(-1)
  total = jnp.where(regions.valid, classes + jnp.where(regions.labels > 0, distances, 0), 0).sum()
  wrong = (regions.valid & (logits_RxC.argmax(-1) != regions.labels)).sum()
  return total / count, wrong / count


def _inside(anchors_Nx4: jax.Array, size: jax.Array) -> jax.Array:
  """Returns whether an anchor is inside of an image of (height, width) `size`, bool [N]."""
  return (anchors_Nx4[:, :2] >= 0).all(1) & (anchors_Nx4[:, 2] <= size[1]) & (anchors_Nx4[:, 3] <= size[0])


def _with_min_sides(boxes_Nx4: jax.Array) -> jax.Array:
  """Returns boxes enlarged to sides of at least 0.01 pixels, so that targets relative to padding are finite."""
  return boxes_Nx4.at[:, 2:].max(boxes_Nx4[:, :2] + 0.01)
