"""Forward passes of a network with lesions, in one compiled program whose arguments are the lesions.

The outputs of blocks before the first disturbed one are those of the undisturbed network and are computed once.
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
from resjax.studies.segmented_model import SegmentedModel, Variables, part, select_block

Tree = Any
Lesions = Mapping[str, dict[str, jax.Array]]  # see `lesion_plans.arrays`


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LesionedModel:
  """A network with each of some lesions.

  Attributes:
    segmented: Network in segments.
    batch_size: Images per forward pass.
    variables: Collections `params` and `batch_stats` of the undisturbed network.
    lesions: Lesions, see `lesion_plans.arrays`.
    statistics: Statistics by which images are normalized.
  """

  segmented: SegmentedModel = dataclasses.field(metadata={"static": True})
  batch_size: int = dataclasses.field(metadata={"static": True})
  variables: Variables
  lesions: Lesions
  statistics: Statistics

  @jax.jit
  def test(self, batch_stats: Tree, images: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tests the network with each lesion, without augmentation.

    Args:
      batch_stats: Batch statistics for each lesion, [lesions, ...]; those of undisturbed first blocks are not used.
      images: Images, uint8 [N, H, W, C].
      labels: Labels, int32 [N].

    Returns:
      Sums of the losses in nats, float32 [lesions], and numbers of misclassified images, int32 [lesions].
    """
    total = len(labels)

    def batch(start: jax.Array) -> tuple[jax.Array, jax.Array]:
      index = mesh.shard_batch(start + jnp.arange(self.batch_size))
      counts, index = index < total, jnp.minimum(index, total - 1)
      logits, _ = self._forward(batch_stats, normalize(images[index], self.statistics), train=False)
      losses = jax.vmap(optax.softmax_cross_entropy_with_integer_labels, (0, None))(logits, labels[index])
      wrong = (logits.argmax(-1) != labels[index]) & counts
      return jnp.where(counts, losses, 0).sum(-1), wrong.sum(-1)

    losses, wrongs = lax.map(batch, jnp.arange(0, total, self.batch_size))
    return losses.sum(0), wrongs.sum(0)

  @jax.jit
  def reestimate(self, images: jax.Array) -> Tree:
    """Returns batch statistics for each lesion, [lesions, ...]: means over batches of training images.

    Args:
      images: Training images, uint8 [N, H, W, C]; the last batch is filled up with the first ones.
    """
    net = dataclasses.replace(self.segmented.net, norm_momentum=0.0)  # the new statistics are those of the batch
    model = dataclasses.replace(self, segmented=dataclasses.replace(self.segmented, net=net))
    count = len(jax.tree.leaves(self.lesions)[0])
    old = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), self.variables["batch_stats"])

    def batch(total: Tree, start: jax.Array) -> tuple[Tree, None]:
      index = mesh.shard_batch((start + jnp.arange(self.batch_size)) % len(images))
      _, new = model._forward(old, normalize(images[index], self.statistics), train=True)
      return jax.tree.map(jnp.add, total, new), None

    starts = jnp.arange(0, len(images), self.batch_size)
    total, _ = lax.scan(batch, jax.tree.map(jnp.zeros_like, old), starts)
    return jax.tree.map(lambda leaf: leaf / len(starts), total)

  def _forward(self, batch_stats: Tree, x: jax.Array, train: bool) -> tuple[jax.Array, Tree]:
    """Returns the logits [lesions, B, classes] of normalized images, and the batch statistics [lesions, ...]."""
    outputs, statistics = self._undisturbed(x, train)

    def one(arguments: tuple[Lesions, Tree]) -> tuple[jax.Array, Tree]:
      lesion, own = arguments
      variables = {**self.variables, "batch_stats": own}
      x, found = outputs["stem"], dict(statistics)
      for stage in self.segmented.stages:
        known = outputs[stage], statistics[stage]
        x, found[stage] = self._stage(stage, variables, lesion[stage], known, x, train)
      logits, found["head"] = self.segmented.head(variables, x, train)
      return logits, {name: found[name] for name in own}

    return lax.map(one, (self.lesions, batch_stats))

  def _undisturbed(self, x: jax.Array, train: bool) -> tuple[dict[str, Any], Tree]:
    """Returns the outputs of the stem and of the blocks of each stage, [blocks, B, h, w, c], and batch statistics."""
    outputs: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    x, statistics["stem"] = self.segmented.stem(self.variables, x, train)
    outputs["stem"] = x
    for stage, blocks in self.segmented.stages.items():
      x, first = self.segmented.block(stage, True, part(self.variables, stage, "block1"), x, train)
      statistics[stage], outputs[stage] = {"block1": first}, x[None]
      if blocks > 1:

        def body(x: jax.Array, own: Variables, stage: str = stage) -> tuple[jax.Array, Any]:
          x, found = self.segmented.block(stage, False, own, x, train)
          return x, (x, found)

        x, (rest, statistics[stage]["rest"]) = lax.scan(body, x, part(self.variables, stage, "rest"))
        outputs[stage] = jnp.concatenate([outputs[stage], rest])
    return outputs, statistics

  def _stage(
    self,
    stage: str,
    variables: Variables,
    lesion: dict[str, jax.Array],
    undisturbed: tuple[jax.Array, Tree],
    x: jax.Array,
    train: bool,
  ) -> tuple[jax.Array, Tree]:
    """Returns the output and the batch statistics of a stage with a lesion.

    Args:
      stage: Name of the stage.
      variables: Variables of the network, with the batch statistics for the lesion.
      lesion: Lesion of the stage.
      undisturbed: Outputs and batch statistics of the undisturbed blocks of the stage. The statistics of a block that
        is not executed keep their values.
      x: Input of the stage.
      train: Whether to normalize by the statistics of the batch.
    """
    outputs, statistics = undisturbed
    blocks = self.segmented.stages[stage]
    first = part(variables, stage, "block1")
    with_branch = functools.partial(self.segmented.block, stage, True, first, train=train)
    without_branch = functools.partial(self.segmented.without_branch, stage, True, first, train=train)
    x, own = lax.cond(
      lesion["shared"],
      lambda _: (outputs[lesion["start"]], statistics["block1"]),
      lambda x: lax.cond(lesion["keep_first"], with_branch, without_branch, x),
      x,
    )
    if blocks == 1:
      return x, {"block1": own}
    rest = part(variables, stage, "rest")

    def apply_position(i: jax.Array, carry: tuple[jax.Array, Tree]) -> tuple[jax.Array, Tree]:
      x, found = carry
      block = lesion["order"][i]
      of_block = select_block(rest, block)
      with_branch = functools.partial(self.segmented.block, stage, False, of_block, train=train)
      without_branch = functools.partial(self.segmented.without_branch, stage, False, of_block, train=train)
      x, new = lax.cond(lesion["keep"][i], with_branch, without_branch, x)
      return x, jax.tree.map(lambda all_, one: all_.at[block].set(one), found, new)

    x, found = lax.fori_loop(lesion["start"], blocks - 1, apply_position, (x, statistics["rest"]))
    return x, {"block1": own, "rest": found}
