"""Region proposals: a small network on the shared features, and the selection of its best boxes (Ren et al. 2015)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from resjax.detection import boxes
from resjax.detection.nms import suppress
from resjax.models.affine import Bias
from resjax.models.conv import Conv

SMALLEST = 1e-3  # side in pixels below which a proposal is dropped
START = nn.initializers.normal(0.01)


class ProposalHead(nn.Module):
  """A 3x3 convolution, then the objectness and the box of each anchor by two 1x1 convolutions.

  Attributes:
    channels: Channels of the 3x3 convolution.
    anchors: Anchors per position.
  """

  channels: int
  anchors: int

  @nn.compact
  def __call__(self, features_BxHxWxC: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns objectness logits [B, N] and regression outputs [B, N, 4], N = H * W * anchors, both float32."""
    x = nn.relu(Bias(name="bias")(Conv(self.channels, start=START, name="conv")(features_BxHxWxC)))
    objectness = Bias(name="objectness_bias")(Conv(self.anchors, 1, start=START, name="objectness")(x))
    deltas = Bias(name="boxes_bias")(Conv(4 * self.anchors, 1, start=START, name="boxes")(x))
    images = len(features_BxHxWxC)
    return objectness.reshape(images, -1).astype(jnp.float32), deltas.reshape(images, -1, 4).astype(jnp.float32)


class Limits(NamedTuple):
  """How many proposals there are of an image.

  Attributes:
    candidates: Number of best anchors that enter non-maximum suppression.
    proposals: Number of proposals at most.
    overlap: Overlap above which the less probable proposal is suppressed.
  """

  candidates: int
  proposals: int
  overlap: float


def propose(
  limits: Limits, anchors: jax.Array, objectness: jax.Array, deltas: jax.Array, size: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the P proposals of one image float32 [P, 4], best first, and which are valid, bool [P].

  Args:
    limits: How many there are.
    anchors: float32 [N, 4].
    objectness: Logits [N].
    deltas: Regression outputs [N, 4].
    size: (height, width) of the image without its padding.
  """
  scores, best = jax.lax.top_k(objectness, min(limits.candidates, len(objectness)))
  found = boxes.clip(boxes.decode(deltas[best], anchors[best], boxes.PROPOSAL_WEIGHTS), size)
  large = (found[:, 2:] - found[:, :2] >= SMALLEST).all(1)
  kept, valid = suppress(found, jnp.where(large, scores, -jnp.inf), limits.overlap, limits.proposals)
  return jnp.where(valid[:, None], found[kept], 0), valid
