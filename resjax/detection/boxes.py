"""Boxes (left, top, right, bottom) in pixels: intersection over union, clipping, and targets of box regression."""

import math

import jax
import jax.numpy as jnp

PROPOSAL_WEIGHTS = (1.0, 1.0, 1.0, 1.0)  # factors of the regression targets of anchors
REGION_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # those of regions: inverses of typical standard deviations
MAX_LOG_SCALE = math.log(1000 / 16)  # limit of the regressed log ratio of side lengths, so that exp() is finite


def areas(boxes: jax.Array) -> jax.Array:
  """Returns the areas [...] of boxes [..., 4]; the area of a box with right < left or bottom < top is 0."""
  sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
  return sides[..., 0] * sides[..., 1]


def intersections(boxes_Nx4: jax.Array, others_Mx4: jax.Array) -> jax.Array:
  """Returns the area of the intersection of each pair of boxes, [N, M]."""
  low = jnp.maximum(boxes_Nx4[:, None, :2], others_Mx4[None, :, :2])
  high = jnp.minimum(boxes_Nx4[:, None, 2:], others_Mx4[None, :, 2:])
  sides = jnp.maximum(high - low, 0)
  return sides[..., 0] * sides[..., 1]


def iou(boxes_Nx4: jax.Array, others_Mx4: jax.Array) -> jax.Array:
  """Returns the intersection over union of each pair of boxes, [N, M]; 0 where both boxes are empty."""
  shared = intersections(boxes_Nx4, others_Mx4)
  union = areas(boxes_Nx4)[:, None] + areas(others_Mx4)[None] - shared
  return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1), 0)


def clip(boxes_Nx4: jax.Array, size: jax.Array) -> jax.Array:
  """Returns boxes clipped to an image.

  Args:
    boxes_Nx4: Boxes.
    size: Height and width of the image, [2].
  """
  return jnp.clip(boxes_Nx4, 0, jnp.stack([size[1], size[0]] * 2).astype(boxes_Nx4.dtype))


def encode(boxes: jax.Array, references: jax.Array, weights: tuple[float, float, float, float]) -> jax.Array:
  """Returns the regression targets (dx, dy, dw, dh) of boxes relative to reference boxes (Girshick 2015), [..., 4].

  Args:
    boxes: Ground truth boxes, [..., 4].
    references: Anchors or proposals with sides larger than 0, [..., 4].
    weights: Factors of the four targets.
  """
  centers, sides = _centers_and_sides(boxes)
  reference_centers, reference_sides = _centers_and_sides(references)
  shifts = (centers - reference_centers) / reference_sides
  # Padding has an empty box; its target is not used, but must be finite.
  growth = jnp.log(jnp.where(sides > 0, sides, reference_sides) / reference_sides)
  return jnp.concatenate([shifts, growth], -1) * jnp.array(weights, boxes.dtype)


def decode(deltas: jax.Array, references: jax.Array, weights: tuple[float, float, float, float]) -> jax.Array:
  """Returns the boxes [..., 4] of regression outputs, the inverse of `encode`.

  Args:
    deltas: Regression outputs, [..., 4].
    references: Anchors or proposals, [..., 4].
    weights: Factors of the four outputs, as in `encode`.
  """
  deltas = deltas / jnp.array(weights, deltas.dtype)
  reference_centers, reference_sides = _centers_and_sides(references)
  centers = deltas[..., :2] * reference_sides + reference_centers
  halves = jnp.exp(jnp.minimum(deltas[..., 2:], MAX_LOG_SCALE)) * reference_sides / 2
  return jnp.concatenate([centers - halves, centers + halves], -1)


def _centers_and_sides(boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
  sides = boxes[..., 2:] - boxes[..., :2]
  return boxes[..., :2] + sides / 2, sides
