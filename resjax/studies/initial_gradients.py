"""Gradients of a random projection of the logits with respect to the input of every block, before training."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from resjax.data.augment import Statistics, normalize
from resjax.studies.segmented_model import SegmentedModel, Variables, part

Carry = tuple[jax.Array, jax.Array]  # gradient divided by its norm, and logarithm of the norm


@functools.partial(jax.jit, static_argnames="segmented")
def block_gradients(
  segmented: SegmentedModel, variables: Variables, images: jax.Array, statistics: Statistics, seed: jax.Array | int
) -> tuple[jax.Array, jax.Array]:
  """Measures the gradient of a random projection of the logits, summed over the images, with batch statistics.

  After each block the gradient is divided by its norm, and the logarithm of the norm is carried along, because in deep
  networks without shortcuts the gradient leaves the range of float32.

  Args:
    segmented: Network of L blocks.
    variables: Collections `params` and `batch_stats`.
    images: Batch, uint8 [N, H, W, C].
    statistics: Mean and standard deviation that images are normalized with.
    seed: Seed of the projection, whose elements are normally distributed with variance 1 / classes.

  Returns:
    For the input of each block from first to last: logarithm of the root mean square over the images of the gradient
    norm, float32 [L], and mean cosine of the angle between the gradients of different images, float32 [L].
  """
  x, _ = segmented.stem(variables, normalize(images, statistics), train=True)
  inputs: dict[str, tuple[jax.Array, Any]] = {}  # inputs of the first block and of the other blocks, by stage
  for stage, blocks in segmented.stages.items():
    first = x
    x, _ = segmented.block(stage, True, part(variables, stage, "block1"), x, train=True)
    rest = None
    if blocks > 1:

      def forward(x: jax.Array, own: Variables, stage: str = stage) -> tuple[jax.Array, jax.Array]:
        return segmented.block(stage, False, own, x, train=True)[0], x

      x, rest = lax.scan(forward, x, part(variables, stage, "rest"))
    inputs[stage] = first, rest

  projection = jax.random.normal(jax.random.key(seed), (segmented.classes,)) * segmented.classes**-0.5
  _, head = jax.vjp(lambda x: segmented.head(variables, x, train=True)[0], x)
  carry, _ = _measure(head(jnp.broadcast_to(projection, (len(images), segmented.classes)))[0], jnp.float32(0))
  found = []
  for stage, blocks in reversed(segmented.stages.items()):
    first, rest = inputs[stage]
    if blocks > 1:

      def backward(carry: Carry, block: Any, stage: str = stage) -> tuple[Carry, Carry]:
        x, own = block
        return _backpropagate(segmented, stage, False, own, x, carry)

      carry, measured = lax.scan(backward, carry, (rest, part(variables, stage, "rest")), reverse=True)
      found.append(measured)
    carry, measured = _backpropagate(segmented, stage, True, part(variables, stage, "block1"), first, carry)
    found.append(jax.tree.map(lambda leaf: leaf[None], measured))
  logs, cosines = (jnp.concatenate(each) for each in zip(*reversed(found), strict=True))
  return logs, cosines


def _backpropagate(
  segmented: SegmentedModel, stage: str, first: bool, variables: Variables, x: jax.Array, carry: Carry
) -> tuple[Carry, Carry]:
  """Backpropagates the gradient from the output of a block to its input `x`, and measures it there."""
  gradient, log = carry
  _, back = jax.vjp(lambda x: segmented.block(stage, first, variables, x, train=True)[0], x)
  return _measure(back(gradient)[0], log)


def _measure(gradient: jax.Array, log: jax.Array) -> tuple[Carry, Carry]:
  """Normalizes and measures a gradient.

  Args:
    gradient: Gradient [N, H, W, C] divided by exp(log).
    log: Logarithm of the divisor, float32 [].

  Returns:
    The carry, and the logarithm of the norm with the mean cosine.
  """
  flat = gradient.reshape(len(gradient), -1).astype(jnp.float32)
  norms = jnp.linalg.norm(flat, axis=1)
  size = jnp.sqrt(jnp.square(norms).mean())
  units = flat / jnp.where(norms > 0, norms, 1)[:, None]
  count = (norms > 0).sum()
  cosine = (jnp.square(units.sum(0)).sum() - count) / (count * (count - 1))
  log = log + jnp.log(size)
  return ((gradient / jnp.where(size > 0, size, 1)).astype(gradient.dtype), log), (log, cosine)
