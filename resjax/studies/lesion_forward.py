"""Nets with lesions, tested: one compiled program for all lesions of a net, which are its arguments.

An image's way to the first disturbed block is that of the undisturbed net and is gone once for all lesions.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from resjax import mesh
from resjax.data.augment import Statistics, normalize
from resjax.studies.segmented_model import SegmentedModel, Variables, at, part

Tree = Any


@functools.partial(jax.jit, static_argnames=("segmented", "batch_size"))
def test(
  segmented: SegmentedModel,
  batch_size: int,
  variables: Variables,
  own_statistics: Tree,
  lesions: Mapping[str, dict[str, jax.Array]],
  images: jax.Array,
  labels: jax.Array,
  statistics: Statistics,
) -> tuple[jax.Array, jax.Array]:
  """Tests a net with each of some lesions.

  Args:
    segmented: the net.
    batch_size: images a forward pass.
    variables: `params` and `batch_stats` of the undisturbed net.
    own_statistics: batch statistics with each lesion, [lesions, ...]; those of undisturbed first blocks are not read.
    lesions: see `draws.arrays`.
    images: uint8 [N, H, W, C].
    labels: int32 [N].
    statistics: what images are normalised with.

  Returns:
    Sums of the losses, float32 [lesions] (nats), and numbers of wrong images, int32 [lesions].
  """
  total = len(labels)

  def batch(start: jax.Array) -> tuple[jax.Array, jax.Array]:
    index = mesh.shard_batch(start + jnp.arange(batch_size))
    counts, index = index < total, jnp.minimum(index, total - 1)
    logits, _ = _each(segmented, variables, own_statistics, lesions, normalize(images[index], statistics), train=False)
    losses = jax.vmap(optax.softmax_cross_entropy_with_integer_labels, (0, None))(logits, labels[index])
    wrong = (logits.argmax(-1) != labels[index]) & counts
    return jnp.where(counts, losses, 0).sum(-1), wrong.sum(-1)

  losses, wrongs = lax.map(batch, jnp.arange(0, total, batch_size))
  return losses.sum(0), wrongs.sum(0)


@functools.partial(jax.jit, static_argnames=("segmented", "batch_size"))
def reestimate(
  segmented: SegmentedModel,
  batch_size: int,
  variables: Variables,
  lesions: Mapping[str, dict[str, jax.Array]],
  images: jax.Array,
  statistics: Statistics,
) -> Tree:
  """Returns batch statistics with each of some lesions, [lesions, ...]: means over batches of training images.

  The last batch is filled up from the first images. See `test` for the arguments.
  """
  forgetting = dataclasses.replace(segmented, net=dataclasses.replace(segmented.net, norm_momentum=0.0))
  count = len(jax.tree.leaves(lesions)[0])
  old = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), variables["batch_stats"])

  def batch(total: Tree, start: jax.Array) -> tuple[Tree, None]:
    index = mesh.shard_batch((start + jnp.arange(batch_size)) % len(images))
    _, new = _each(forgetting, variables, old, lesions, normalize(images[index], statistics), train=True)
    return jax.tree.map(jnp.add, total, new), None

  starts = jnp.arange(0, len(images), batch_size)
  total, _ = lax.scan(batch, jax.tree.map(jnp.zeros_like, old), starts)
  return jax.tree.map(lambda leaf: leaf / len(starts), total)


def _each(
  segmented: SegmentedModel,
  variables: Variables,
  own_statistics: Tree,
  lesions: Mapping[str, dict[str, jax.Array]],
  x: jax.Array,
  train: bool,
) -> tuple[jax.Array, Tree]:
  """Returns the logits [lesions, B, classes] of normalised images, and the batch statistics [lesions, ...]."""
  shared, statistics = _undisturbed(segmented, variables, x, train)

  def one(arguments: tuple[Mapping[str, dict[str, jax.Array]], Tree]) -> tuple[jax.Array, Tree]:
    lesion, own = arguments
    its = {**variables, "batch_stats": own}
    x, found = shared["stem"], dict(statistics)
    for stage, blocks in segmented.stages.items():
      x, found[stage] = _stage(segmented, stage, blocks, its, lesion[stage], shared[stage], statistics[stage], x, train)
    logits, found["head"] = segmented.head(its, x, train)
    return logits, {name: found[name] for name in own}

  return lax.map(one, (lesions, own_statistics))


def _undisturbed(
  segmented: SegmentedModel, variables: Variables, x: jax.Array, train: bool
) -> tuple[dict[str, Any], Tree]:
  """Returns the outputs of the stem, and of the blocks by stage, [blocks, B, h, w, c]; and the batch statistics."""
  outputs: dict[str, Any] = {}
  statistics: dict[str, Any] = {}
  x, statistics["stem"] = segmented.stem(variables, x, train)
  outputs["stem"] = x
  for stage, blocks in segmented.stages.items():
    x, first = segmented.block(stage, True, part(variables, stage, "block1"), x, train)
    statistics[stage], outputs[stage] = {"block1": first}, x[None]
    if blocks > 1:

      def body(x: jax.Array, own: Variables, stage: str = stage) -> tuple[jax.Array, Any]:
        x, found = segmented.block(stage, False, own, x, train)
        return x, (x, found)

      x, (rest, statistics[stage]["rest"]) = lax.scan(body, x, part(variables, stage, "rest"))
      outputs[stage] = jnp.concatenate([outputs[stage], rest])
  return outputs, statistics


def _stage(
  segmented: SegmentedModel,
  stage: str,
  blocks: int,
  variables: Variables,
  lesion: dict[str, jax.Array],
  shared: jax.Array,
  statistics: Tree,
  x: jax.Array,
  train: bool,
) -> tuple[jax.Array, Tree]:
  """Returns a stage's output and batch statistics with a lesion.

  Args:
    segmented, variables, train: see `_each`; the statistics are those with the lesion.
    stage, blocks: its name, and how many blocks it has.
    lesion: of this stage.
    shared: outputs of its undisturbed blocks.
    statistics: of its undisturbed blocks, which stay where a block does not run.
    x: its input.
  """
  first = part(variables, stage, "block1")
  kept = functools.partial(segmented.block, stage, True, first, train=train)
  cut = functools.partial(segmented.without, stage, True, first, train=train)
  x, own = lax.cond(
    lesion["shared"],
    lambda _: (shared[lesion["start"]], statistics["block1"]),
    lambda x: lax.cond(lesion["keep_first"], kept, cut, x),
    x,
  )
  if blocks == 1:
    return x, {"block1": own}
  rest = part(variables, stage, "rest")

  def place(i: jax.Array, carry: tuple[jax.Array, Tree]) -> tuple[jax.Array, Tree]:
    x, found = carry
    block = lesion["order"][i]
    its = at(rest, block)
    kept = functools.partial(segmented.block, stage, False, its, train=train)
    cut = functools.partial(segmented.without, stage, False, its, train=train)
    x, new = lax.cond(lesion["keep"][i], kept, cut, x)
    return x, jax.tree.map(lambda all_, one: all_.at[block].set(one), found, new)

  x, found = lax.fori_loop(lesion["start"], blocks - 1, place, (x, statistics["rest"]))
  return x, {"block1": own, "rest": found}
