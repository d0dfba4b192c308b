"""Matching of anchors and regions with the ground truth, and sampling of those that are trained."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from resjax.detection import boxes

IGNORED_SHARE = 0.5  # fraction of a candidate's area in an ignored box above which it is not trained as background


class GroundTruth(NamedTuple):
  """Annotated boxes of one image, padded to a fixed number.

  Attributes:
    boxes: Boxes in pixels of the resized image, float32 [M, 4].
    labels: Classes from 1 to the number of classes, int32 [M]; 0: padding.
    ignored: Whether a box is a crowd or a difficult object, which is neither a positive nor background, bool [M].
  """

  boxes: jax.Array
  labels: jax.Array
  ignored: jax.Array

  @property
  def present(self) -> jax.Array:
    """Whether a box is an object that the detector should find, bool [M]."""
    return (self.labels > 0) & ~self.ignored


class Matches(NamedTuple):
  """Best matches of N candidate boxes.

  Attributes:
    indices: Index of the object with which the candidate has the highest IoU, int32 [N].
    iou: Intersection over union with that object, 0 without any object or if not eligible, float32 [N].
    best: Whether the candidate has the highest IoU of all eligible candidates with some object, bool [N].
    excluded: Whether the candidate is in an ignored box and must not be background, bool [N].
  """

  indices: jax.Array
  iou: jax.Array
  best: jax.Array
  excluded: jax.Array


def match(candidates_Nx4: jax.Array, truth: GroundTruth, eligible_N: jax.Array) -> Matches:
  """Matches each candidate box with an object.

  Args:
    candidates_Nx4: Anchors or regions.
    truth: Ground truth of the image.
    eligible_N: Whether a candidate may be trained, bool. The others match no object, so that the best candidate of an
      object is one that is trained.
  """
  table = jnp.where(truth.present & eligible_N[:, None], boxes.iou(candidates_Nx4, truth.boxes), -1.0)
  indices, highest = table.argmax(1), table.max(0)
  # All eligible candidates that tie for the highest IoU with an object are best.
  best = ((table == highest) & (highest > 0)).any(1)
  covered = jnp.where(truth.ignored, boxes.intersections(candidates_Nx4, truth.boxes), 0).max(1)
  excluded = covered > IGNORED_SHARE * jnp.maximum(boxes.areas(candidates_Nx4), 1e-6)
  return Matches(indices, jnp.maximum(jnp.take_along_axis(table, indices[:, None], 1)[:, 0], 0.0), best, excluded)


def sample(
  key: jax.Array, positive_N: jax.Array, negative_N: jax.Array, count: int, max_positive: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Samples candidates without replacement: at most `max_positive` positive ones, the others negative.

  Args:
    key: Random key of the sample.
    positive_N: Whether a candidate is positive, bool; N is at least `count`.
    negative_N: Whether a candidate is negative, bool.
    count: Size of the sample.
    max_positive: Largest number of positive candidates in the sample.

  Returns:
    Indices of the candidates, positive ones first, int32 [count]; whether each is valid, bool [count]; and whether each
    is positive, bool [count]. Fewer than `count` are valid where there are not enough candidates.
  """
  draws = jax.random.uniform(key, positive_N.shape)
  drawn, chosen_positive = jax.lax.top_k(jnp.where(positive_N, draws, -1.0), max_positive)
  taken = (drawn >= 0).sum()
  left, chosen_negative = jax.lax.top_k(jnp.where(negative_N, draws, -1.0), count)
  places = jnp.arange(count)
  is_positive = places < taken
  positions = jnp.where(is_positive, jnp.minimum(places, max_positive - 1), places - taken)
  positive_indices = chosen_positive[jnp.minimum(positions, max_positive - 1)]
  indices = jnp.where(is_positive, positive_indices, chosen_negative[positions])
  return indices, is_positive | (left[positions] >= 0), is_positive
