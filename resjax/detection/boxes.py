"""Boxes as (left, top, right, bottom) in pixels: overlaps, clipping, and the regression targets of Fast R-CNN."""

import math

import jax
import jax.numpy as jnp

PROPOSAL_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # of the regression targets of anchors
REGION_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # of regions: the inverse of the targets' usual deviation
LARGEST_GROWTH = math.log(1000 / 16)  # a side grows by this factor at most, so that exp() stays finite


def areas(boxes: jax.Array) -> jax.Array:
  """Returns the areas [...] of boxes [..., 4]; that of an inverted box is 0."""
  sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
  return sides[..., 0] * sides[..., 1]


def intersections(one: jax.Array, other: jax.Array) -> jax.Array:
  """Returns the areas [N, M] that boxes [N, 4] and boxes [M, 4] share."""
  low = jnp.maximum(one[:, None, :2], other[None, :, :2])
  high = jnp.minimum(one[:, None, 2:], other[None, :, 2:])
  sides = jnp.maximum(high - low, 0)
  return sides[..., 0] * sides[..., 1]


def overlaps(one: jax.Array, other: jax.Array) -> jax.Array:
  """Returns intersection over union [N, M] of boxes [N, 4] and boxes [M, 4]; 0 where both are empty."""
  shared = intersections(one, other)
  union = areas(one)[:, None] + areas(other)[None] - shared
  return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0)


def clip(boxes: jax.Array, size: jax.Array) -> jax.Array:
  """Returns boxes [N, 4] cut off at the borders of an image of size (height, width)."""
  return jnp.clip(boxes, 0, jnp.stack([size[1], size[0]] * 2).astype(boxes.dtype))


def encode(boxes: jax.Array, references: jax.Array, weights: tuple[float, float, float, float]) -> jax.Array:
  """Returns the regression targets (dx, dy, dw, dh) of boxes relative to references (Girshick 2015).

  Args:
    boxes: Ground truth [..., 4].
    references: Anchors or proposals [..., 4] with sides larger than 0.
    weights: Factors of the four targets.
  """
  centers, sides = _centers_and_sides(boxes)
  reference_centers, reference_sides = _centers_and_sides(references)
  shifts = (centers - reference_centers) / reference_sides
  # A row without ground truth has an empty box; its target is not used, but must be finite.
  growth = jnp.log(jnp.where(sides > 0, sides, reference_sides) / reference_sides)
  return jnp.concatenate([shifts, growth], -1) * jnp.array(weights, boxes.dtype)


def decode(deltas: jax.Array, references: jax.Array, weights: tuple[float, float, float, float]) -> jax.Array:
  """Returns the boxes [..., 4] that regression outputs [..., 4] make of references [..., 4]; inverts `encode`."""
  deltas = deltas / jnp.array(weights, deltas.dtype)
  reference_centers, reference_sides = _centers_and_sides(references)
  centers = deltas[..., :2] * reference_sides + reference_centers
  halves = jnp.exp(jnp.minimum(deltas[..., 2:], LARGEST_GROWTH)) * reference_sides / 2
  return jnp.concatenate([centers - halves, centers + halves], -1)


def _centers_and_sides(boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
  sides = boxes[..., 2:] - boxes[..., :2]
  return boxes[..., :2] + sides / 2, sides
