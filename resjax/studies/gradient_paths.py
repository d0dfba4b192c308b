"""Decomposition of the gradient by path length, the number of main branches on a path (Veit et al. 2016).

The Jacobian of a block is S + F, the sum of those of its shortcut and its main branch, at the activations of the whole
network. The gradient is backpropagated through L blocks by a product of L such sums. In its expansion, the terms with k
factors F are the gradient through paths of length k. All of them are backpropagated together, like the coefficients of
a polynomial: in each block, term k becomes S times term k plus F times term k - 1.
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
def decompose(
  segmented: SegmentedModel,
  batch_size: int,
  variables: Variables,
  images: jax.Array,
  labels: jax.Array,
  statistics: Statistics,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Decomposes the loss gradient with respect to the input of the first block, in float32, with running statistics.

  Args:
    segmented: Network of L blocks in segments.
    batch_size: Images per pass.
    variables: Collections `params` and `batch_stats` of the network.
    images: Images, uint8 [N, H, W, C].
    labels: Labels, int32 [N].
    statistics: Statistics by which images are normalized.

  Returns:
    Sums over the images, by path length: inner products of each part with the whole gradient, float32 [L + 1]; and
    squared norms of each part, float32 [L + 1]. Squared norm of the whole gradient, computed separately, float32 [].
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
  """Returns the sums of `decompose` over the images of a normalized batch that count."""
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
        return _backpropagate(segmented, stage, False, own, x, carry), None

      carry, _ = lax.scan(backward, carry, (rest, part(variables, stage, "rest")), reverse=True)
    carry = _backpropagate(segmented, stage, True, part(variables, stage, "block1"), first, carry)
  whole, polynomial = carry
  axes = tuple(range(1, polynomial.ndim))
  return (polynomial * whole).sum(axes), jnp.square(polynomial).sum(axes), jnp.square(whole).sum()


def _backpropagate(
  segmented: SegmentedModel,
  stage: str,
  first: bool,
  variables: Variables,
  x: jax.Array,
  carry: tuple[jax.Array, jax.Array],
) -> tuple[jax.Array, jax.Array]:
  """Backpropagates the whole gradient and its parts from the output of a block to its input `x`."""
  whole, polynomial = carry
  block = functools.partial(segmented.block, stage, first, variables, train=False)
  _, both = jax.vjp(lambda x: block(x)[0], x)
  _, shortcut = jax.vjp(lambda x: block(x, modify_branch=lax.stop_gradient)[0], x)

  def one(gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    along = shortcut(gradient)[0]
    return along, both(gradient)[0] - along

  along, through = lax.map(one, polynomial)
  # No path is longer than the number of blocks, so the last coefficient is zero before the shift.
  return both(whole)[0], along.at[1:].add(through[:-1])
