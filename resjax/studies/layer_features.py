"""Globally pooled features of each block of a network, and logits of its head on each block of the last stage."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from resjax import mesh
from resjax.data.augment import Statistics, normalize
from resjax.models.precision import at_least_float32
from resjax.studies.segmented_model import SegmentedModel, Variables, part


class Position(NamedTuple):
  """Position in the network where features are read: the output of a block, or the input of the first block.

  Attributes:
    stage: 1-based index of the stage; 0 for the input of the first block.
    block: 1-based position of the block in its stage; 0 for the input of the first block.
  """

  stage: int
  block: int


class Features(NamedTuple):
  """Features of a network at all positions.

  Attributes:
    positions: Input of the first block, then the output of each block.
    pooled: Features after global average pooling at each position, float64 [images, channels].
    logits: Output of the head applied to each block of the last stage, float64 [blocks, images, classes].
  """

  positions: list[Position]
  pooled: list[np.ndarray]
  logits: np.ndarray


def capture(
  segmented: SegmentedModel, batch_size: int, variables: Variables, images_NxHxWxC: jax.Array, statistics: Statistics
) -> Features:
  """Computes the features of images in one forward pass with running statistics of batch norm.

  Args:
    segmented: Network in segments.
    batch_size: Number of images per forward pass.
    variables: Collections `params` and `batch_stats`.
    images_NxHxWxC: Images, uint8.
    statistics: Mean and standard deviation with which images are normalized.
  """
  first, stages, logits = mesh.gather(_forward(segmented, batch_size, variables, images_NxHxWxC, statistics))
  positions, pooled = [Position(0, 0)], [np.asarray(first, np.float64)]
  for stage, blocks in enumerate(stages, 1):
    positions += [Position(stage, block) for block in range(1, len(blocks) + 1)]
    pooled += list(np.asarray(blocks, np.float64))
  return Features(positions, pooled, np.asarray(logits, np.float64))


@functools.partial(jax.jit, static_argnames=("segmented", "batch_size"))
def _forward(
  segmented: SegmentedModel, batch_size: int, variables: Variables, images: jax.Array, statistics: Statistics
) -> tuple[jax.Array, list[jax.Array], jax.Array]:
  """Returns the outputs of `capture` as arrays.

  Returns:
    Pooled features of the input [images, C], those of each stage [blocks, images, C], and the logits of the last stage
    [blocks, images, classes].
  """
  total = len(images)

  def batch(start: jax.Array) -> tuple[jax.Array, list[jax.Array], jax.Array]:
    index = mesh.shard_batch(jnp.minimum(start + jnp.arange(batch_size), total - 1))
    return _batch(segmented, variables, normalize(images[index], statistics))

  def joined(parts: jax.Array) -> jax.Array:
    """Reshapes [batches, ..., batch size, K] to [..., images, K]."""
    parts = jnp.moveaxis(parts, 0, -3)
    return parts.reshape(*parts.shape[:-3], -1, parts.shape[-1])[..., :total, :]

  return jax.tree.map(joined, lax.map(batch, jnp.arange(0, total, batch_size)))


def _batch(
  segmented: SegmentedModel, variables: Variables, x: jax.Array
) -> tuple[jax.Array, list[jax.Array], jax.Array]:
  """Returns the outputs of `_forward` for one minibatch of normalized images."""
  x, _ = segmented.stem(variables, x, train=False)
  first, stages = _pool(x), []
  last = list(segmented.stages)[-1]
  for stage, blocks in segmented.stages.items():

    def outputs(x: jax.Array, stage: str = stage) -> tuple[jax.Array, jax.Array | None]:
      return _pool(x), segmented.head(variables, x, train=False)[0] if stage == last else None

    x, _ = segmented.block(stage, True, part(variables, stage, "block1"), x, train=False)
    found = jax.tree.map(lambda leaf: leaf[None], outputs(x))
    if blocks > 1:

      def body(x: jax.Array, own: Variables, stage: str = stage, outputs=outputs) -> tuple[jax.Array, tuple]:
        x, _ = segmented.block(stage, False, own, x, train=False)
        return x, outputs(x)

      x, rest = lax.scan(body, x, part(variables, stage, "rest"))
      found = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), found, rest)
    pooled, logits = found
    stages.append(pooled)
  return first, stages, logits


def _pool(x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns the features after global average pooling, float32 [B, C]."""
  return at_least_float32(x_BxHxWxC).mean((1, 2))
