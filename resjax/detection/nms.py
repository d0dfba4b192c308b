"""Greedy non-maximum suppression with a fixed number of outputs, on the device."""

import jax
import jax.numpy as jnp
from jax import lax

from resjax.detection.boxes import iou


def suppress(boxes_Nx4: jax.Array, scores_N: jax.Array, overlap: float, count: int) -> tuple[jax.Array, jax.Array]:
  """Selects boxes by greedy non-maximum suppression.

  Boxes are visited in the order of their scores; a box is suppressed if its intersection over union with a selected box
  exceeds `overlap`. Among equal scores, the box with the smaller index is visited first, as in torchvision.

  Args:
    boxes_Nx4: Boxes, float32.
    scores_N: Scores, float32; -inf for boxes that must not be selected.
    overlap: Intersection over union above which a box is suppressed.
    count: Number of outputs.

  Returns:
    Indices of the selected boxes, int32 [count], and whether each is valid, bool [count]. Fewer than `count` are valid
    where fewer boxes are left.
  """

  def select(remaining: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    index = remaining.argmax()
    suppressed = (iou(boxes_Nx4[index][None], boxes_Nx4)[0] > overlap).at[index].set(True)
    return jnp.where(suppressed, -jnp.inf, remaining), (index, remaining[index] > -jnp.inf)

  return lax.scan(select, scores_N, None, length=count)[1]
