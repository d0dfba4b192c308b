"""Decomposition of the gradient by path length, the number of main branches on a path (Veit et al. 2016).

The derivative of a block is S + F, the sum of those of its shortcut and its main branch, at the activations of the
whole network. The gradient through L blocks is the product of L such sums. In its expansion, the terms with k factors F
are the gradient through paths of length k. They are propagated back as coefficients of a polynomial: through each
block, coefficient k becomes S times coefficient k plus F times coefficient k - 1.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from resjax import mesh
from resjax.data.augment import Statistics, normalize
from resjax.studies.segmented_model import SegmentedModel, Variables, part


@functools.partial(jax.jit, static_argnames=("segmented", "batch_size"))
def parts(
  segmented: SegmentedModel,
  batch_size: int,
  variables: Variables,
  images: jax.Array,
  labels: jax.Array,
  statistics: Statistics,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Decomposes the gradient of the loss with respect to the first block's input, with running statistics, in float32.

  Args:
    segmented: Network of L blocks in segments.
    batch_size: Images per pass.
    variables: Collections `params` and `batch_stats` of the network.
    images: Images, uint8 [N, H, W, C].
    labels: Labels, int32 [N].
    statistics: Statistics by which images are normalized.

  Returns:
    Sums over the images: inner products of each part with the whole gradient, float32 [L + 1]; squared norms of each
    part, float32 [L + 1]; squared norm of the whole gradient, which is computed separately, float32 [].
  """
  exact = dataclasses.replace(segmented, net=dataclasses.replace(segmented.net, precision="float32"))
  total = len(labels)

  def batch(start: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    index = mesh.shard_batch(start + jnp.arange(batch_size))
    counts, index = index < total, jnp.minimum(index, total - 1)
    return _batch(exact, variables, normalize(images[index], statistics), labels[index], counts)

  return jax.tree.map(lambda leaf: leaf.sum(0), lax.map(batch, jnp.arange(0, total, batch_size)))


def _batch(
  segmented: SegmentedModel, variables: Variables, x: jax.Array, labels: jax.Array, counts: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the sums of `parts` for a batch of normalized images, over those that count."""
  x, _ = segmented.stem(variables, x, train=False)
  inputs: dict[str, tuple[jax.Array, Any]] = {}  # inputs of the first block and of the other blocks, by stage
  for stage, blocks in segmented.stages.items():
    first = x
    x, _ = segmented.block(stage, True, part(variables, stage, "block1"), x, train=False)
    rest = None
    if blocks > 1:

      def forward(x: jax.Array, own: Variables, stage: str = stage) -> tuple[jax.Array, jax.Array]:
        return segmented.block(stage, False, own, x, train=False)[0], x

      x, rest = lax.scan(forward, x, part(variables, stage, "rest"))
    inputs[stage] = first, rest

  def loss(x: jax.Array) -> jax.Array:
    logits, _ = segmented.head(variables, x, train=False)
    return jnp.where(counts, optax.softmax_cross_entropy_with_integer_labels(logits, labels), 0).sum()

  whole = jax.grad(loss)(x)
  polynomial = jnp.zeros((sum(segmented.stages.values()) + 1, *whole.shape), whole.dtype).at[0].set(whole)
  carry = whole, polynomial
  for stage, blocks in reversed(segmented.stages.items()):
    first, rest = inputs[stage]
    if blocks > 1:

      def backward(carry: Any, block: Any, stage: str = stage) -> tuple[Any, None]:
        x, own = block
        return _back(segmented, stage, False, own, x, carry), None

      carry, _ = lax.scan(backward, carry, (rest, part(variables, stage, "rest")), reverse=True)
    carry = _back(segmented, stage, True, part(variables, stage, "block1"), first, carry)
  whole, polynomial = carry
  axes = tuple(range(1, polynomial.ndim))
  return (polynomial * whole).sum(axes), jnp.square(polynomial).sum(axes), jnp.square(whole).sum()


def _back(
  segmented: SegmentedModel,
  stage: str,
  first: bool,
  variables: Variables,
  x: jax.Array,
  carry: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """Propagates the whole gradient and its parts from the output of a block to its input `x`."""
  whole, polynomial = carry
  block = functools.partial(segmented.block, stage, first, variables, train=False)
  _, both = jax.vjp(lambda x: block(x)[0], x)
  _, shortcut = jax.vjp(lambda x: block(x, disturb=lax.stop_gradient)[0], x)

  def one(gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    along = shortcut(gradient)[0]
    return along, both(gradient)[0] - along

  along, through = lax.map(one, polynomial)
  # No path is longer than the number of blocks, so the last coefficient is zero before the shift.
  return both(whole)[0], along.at[1:].add(through[:-1])
