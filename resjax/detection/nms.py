"""Greedy non-maximum suppression with a fixed number of outputs, on the device."""

import jax
import jax.numpy as jnp
from jax import lax

from resjax.detection import boxes as box


def suppress(boxes: jax.Array, scores: jax.Array, overlap: float, count: int) -> tuple[jax.Array, jax.Array]:
  """Keeps boxes in the order of their scores, each unless it overlaps one kept before by more than `overlap`.

  Of equal scores the first box comes first, as in torchvision.

  Args:
    boxes: float32 [N, 4].
    scores: float32 [N]; -inf: not a candidate.
    overlap: Intersection over union above which a box is suppressed.
    count: Number of outputs.

  Returns:
    Indices of the kept boxes int32 [count], and which of these are valid, bool [count].
  """

  def keep(left: jax.Array, _: None) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    index = left.argmax()
    gone = (box.overlaps(boxes[index][None], boxes)[0] > overlap).at[index].set(True)
    return jnp.where(gone, -jnp.inf, left), (index, left[index] > -jnp.inf)

  return lax.scan(keep, scores, None, length=count)[1]
