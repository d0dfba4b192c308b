"""Region proposal network on the shared features, and the selection of proposals (Ren et al. 2015)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from resjax.detection import boxes
from resjax.detection.nms import suppress
from resjax.models.affine import Bias
from resjax.models.conv import Conv

MIN_SIDE = 1e-3  # smallest side of a proposal in pixels; smaller proposals are dropped
KERNEL_INIT = nn.initializers.normal(0.01)


class ProposalHead(nn.Module):
  """A 3x3 convolution followed by two 1x1 convolutions for objectness and box of each anchor.

  Attributes:
    channels: Output channels of the 3x3 convolution.
    anchors: Number of anchors per position.
  """

  channels: int
  anchors: int

  @nn.compact
  def __call__(self, features_BxHxWxC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns objectness logits [B, N] and regression outputs [B, N, 4], both float32, with N = H * W * anchors."""
    x = nn.relu(Bias(name="bias")(Conv(self.channels, start=KERNEL_INIT, name="conv")(features_BxHxWxC)))
    objectness = Bias(name="objectness_bias")(Conv(self.anchors, 1, start=KERNEL_INIT, name="objectness")(x))
    deltas = Bias(name="boxes_bias")(Conv(4 * self.anchors, 1, start=KERNEL_INIT, name="boxes")(x))
    images = len(features_BxHxWxC)
    return objectness.reshape(images, -1).astype(jnp.float32), deltas.reshape(images, -1, 4).astype(jnp.float32)


class ProposalLimits(NamedTuple):
  """Limits of the selection of proposals of an image.

  Attributes:
    candidates: Number of highest-scoring anchors before non-maximum suppression.
    proposals: Largest number of proposals after it.
    overlap: Intersection over union above which the proposal of the lower score is suppressed.
  """

  candidates: int
  proposals: int
  overlap: float


def propose(
  limits: ProposalLimits, anchors_Nx4: jax.Array, objectness_N: jax.Array, deltas_Nx4: jax.Array, size: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Selects the proposals of one image.

  Args:
    limits: Limits of the selection.
    anchors_Nx4: Anchors, float32.
    objectness_N: Objectness logits of the anchors.
    deltas_Nx4: Regression outputs of the anchors.
    size: Height and width of the image without its padding, [2].

  Returns:
    Boxes of the P = `limits.proposals` proposals by decreasing score, float32 [P, 4], and whether each is valid,
    bool [P].
  """
  scores, best = jax.lax.top_k(objectness_N, min(limits.candidates, len(objectness_N)))
  found = boxes.clip(boxes.decode(deltas_Nx4[best], anchors_Nx4[best], boxes.PROPOSAL_WEIGHTS), size)
  large = (found[:, 2:] - found[:, :2] >= MIN_SIDE).all(1)
  kept, valid = suppress(found, jnp.where(large, scores, -jnp.inf), limits.overlap, limits.proposals)
  return jnp.where(valid[:, None], found[kept], 0), valid
