"""Which ground truth an anchor or a region is trained towards, and which of them are."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from resjax.detection import boxes

IGNORED_SHARE = 0.5  # of a candidate's area inside an ignored box, from which on it is not trained as background


class GroundTruth(NamedTuple):
  """The boxes of one image, padded to a fixed number.

  Attributes:
    boxes: float32 [M, 4].
    labels: int32 [M], 1 to the number of classes; 0: padding.
    ignored: bool [M]; such a box (a crowd, or a difficult object) is neither an object to find nor background.
  """

  boxes: jax.Array
  labels: jax.Array
  ignored: jax.Array

  @property
  def present(self) -> jax.Array:
    """Which boxes are objects to find, bool [M]."""
    return (self.labels > 0) & ~self.ignored


class Matches(NamedTuple):
  """What each of N candidates is matched with.

  Attributes:
    indices: int32 [N], box of the image that the candidate overlaps most.
    overlaps: float32 [N], intersection over union with it; 0 without any box.
    best: bool [N], whether no candidate overlaps some object more than this one.
    excluded: bool [N], whether the candidate lies in an ignored box.
  """

  indices: jax.Array
  overlaps: jax.Array
  best: jax.Array
  excluded: jax.Array


def match(candidates: jax.Array, truth: GroundTruth) -> Matches:
  """Matches candidates [N, 4] with the objects of an image."""
  table = jnp.where(truth.present, boxes.overlaps(candidates, truth.boxes), -1.0)
  indices, highest = table.argmax(1), table.max(0)
  # Ties count: each candidate that overlaps an object as much as the best one is matched.
  best = ((table == highest) & (highest > 0)).any(1)
  covered = jnp.where(truth.ignored, boxes.intersections(candidates, truth.boxes), 0).max(1)
  excluded = covered > IGNORED_SHARE * jnp.maximum(boxes.areas(candidates), 1e-6)
  return Matches(indices, jnp.maximum(jnp.take_along_axis(table, indices[:, None], 1)[:, 0], 0.0), best, excluded)


def sample(
  key: jax.Array, positive: jax.Array, negative: jax.Array, count: int, positives: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draws candidates without replacement, at most `positives` positive ones, and fills up with negative ones.

  Args:
    key: Random key.
    positive, negative: Which candidates are positive and negative, bool [N], N at least `count`.
    count: How many to draw.
    positives: How many of them may be positive.

  Returns:
    Indices int32 [count] with the positive candidates first, whether each is valid, and whether each is positive, both
    bool [count]. Fewer are valid where there are not enough candidates.
  """
  draws = jax.random.uniform(key, positive.shape)
  drawn, chosen_positive = jax.lax.top_k(jnp.where(positive, draws, -1.0), positives)
  taken = (drawn >= 0).sum()
  left, chosen_negative = jax.lax.top_k(jnp.where(negative, draws, -1.0), count)
  places = jnp.arange(count)
  is_positive = places < taken
  positions = jnp.where(is_positive, jnp.minimum(places, positives - 1), places - taken)
  indices = jnp.where(is_positive, chosen_positive[jnp.minimum(positions, positives - 1)], chosen_negative[positions])
  return indices, is_positive | (left[positions] >= 0), is_positive
