"""Globally pooled features of every block of a network, and what its head says of each block of the last stage."""

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


class Place(NamedTuple):
  """Where features are taken.

  Attributes:
    stage: Number of the stage, from 1; 0 at the input of the first block.
    block: Number of the block in its stage, from 1; 0 at the input of the first block.
  """

  stage: int
  block: int


class Features(NamedTuple):
  """Features of a network's blocks.

  Attributes:
    places: Input of the first block, then every block in order.
    pooled: Global average pools at the places, each float64 [images, channels].
    logits: Output of the head for every block of the last stage, float64 [blocks, images, classes].
  """

  places: list[Place]
  pooled: list[np.ndarray]
  logits: np.ndarray


def take(
  segmented: SegmentedModel, batch_size: int, variables: Variables, images: jax.Array, statistics: Statistics
) -> Features:
  """Takes the features in one forward pass with running statistics.

  Args:
    segmented: Network.
    batch_size: Number of images per forward pass.
    variables: `params` and `batch_stats`.
    images: uint8 [images, height, width, channels].
    statistics: Mean and standard deviation that images are normalized with.

  Returns:
    Features of all images.
  """
  first, stages, logits = mesh.gather(_forward(segmented, batch_size, variables, images, statistics))
  places, pooled = [Place(0, 0)], [np.asarray(first, np.float64)]
  for stage, blocks in enumerate(stages, 1):
    places += [Place(stage, block) for block in range(1, len(blocks) + 1)]
    pooled += list(np.asarray(blocks, np.float64))
  return Features(places, pooled, np.asarray(logits, np.float64))


@functools.partial(jax.jit, static_argnames=("segmented", "batch_size"))
def _forward(
  segmented: SegmentedModel, batch_size: int, variables: Variables, images: jax.Array, statistics: Statistics
) -> tuple[jax.Array, list[jax.Array], jax.Array]:
  """Returns pools of the input [images, C], those of each stage [blocks, images, C], and logits of the last stage."""
  total = len(images)

  def batch(start: jax.Array) -> tuple[jax.Array, list[jax.Array], jax.Array]:
    index = mesh.shard_batch(jnp.minimum(start + jnp.arange(batch_size), total - 1))
    return _batch(segmented, variables, normalize(images[index], statistics))

  def joined(parts: jax.Array) -> jax.Array:
    """Joins [batches, ..., batch size, numbers] to [..., images, numbers]."""
    parts = jnp.moveaxis(parts, 0, -3)
    return parts.reshape(*parts.shape[:-3], -1, parts.shape[-1])[..., :total, :]

  return jax.tree.map(joined, lax.map(batch, jnp.arange(0, total, batch_size)))


def _batch(
  segmented: SegmentedModel, variables: Variables, x: jax.Array
) -> tuple[jax.Array, list[jax.Array], jax.Array]:
  """Returns what `_forward` does, of one batch of normalized images."""
  x, _ = segmented.stem(variables, x, train=False)
  first, stages = _pool(x), []
  last = list(segmented.stages)[-1]
  for stage, blocks in segmented.stages.items():

    def seen(x: jax.Array, stage: str = stage) -> tuple[jax.Array, jax.Array | None]:
      return _pool(x), segmented.head(variables, x, train=False)[0] if stage == last else None

    x, _ = segmented.block(stage, True, part(variables, stage, "block1"), x, train=False)
    found = jax.tree.map(lambda leaf: leaf[None], seen(x))
    if blocks > 1:

      def body(x: jax.Array, own: Variables, stage: str = stage, seen=seen) -> tuple[jax.Array, tuple]:
        x, _ = segmented.block(stage, False, own, x, train=False)
        return x, seen(x)

      x, rest = lax.scan(body, x, part(variables, stage, "rest"))
      found = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), found, rest)
    pooled, logits = found
    stages.append(pooled)
  return first, stages, logits


def _pool(x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns the global average pool, float32 [B, C]."""
  return at_least_float32(x_BxHxWxC).mean((1, 2))
