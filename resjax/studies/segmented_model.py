"""A network as separate functions of their variables: stem, single blocks, and head."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from resjax import config
from resjax.models import stochastic_depth
from resjax.models.blocks import Block
from resjax.models.resnet import Head, Stem
from resjax.models.shortcuts import identity_shortcut
from resjax.settings import ConfigError

Variables = dict[str, Any]
SURVIVAL = "survival"  # collection of factors of main branches; like params, it is split and permuted with the blocks


def check(net: config.Model, remedy: str = "exclude it with --only") -> None:
  """Raises ConfigError for a network that does not consist of a stem, stages of blocks and a head.

  Args:
    net: Settings of the network.
    remedy: End of the error message, what the user can do.
  """
  if net.family == "vgg":
    raise ConfigError(
      f"model.family = 'vgg': its blocks cannot be studied one by one, because of the pooling between them; {remedy}"
    )


@dataclasses.dataclass(frozen=True)
class SegmentedModel:
  """A network as separate functions: stem, single blocks and head.

  Attributes:
    net: Settings of the network.
    classes: Number of classes, the width of the last layer.
  """

  net: config.Model
  classes: int

  @property
  def stages(self) -> dict[str, int]:
    """Number of blocks of each stage, by name."""
    return {f"stage{i}": blocks for i, blocks in enumerate(self.net.structure.blocks_per_stage, 1)}

  def with_survival(self, variables: Variables) -> Variables:
    """Returns the variables with the factors of main branches as collection `SURVIVAL`, if any factor is not 1."""
    survival: dict[str, Any] = {}
    for stage, each in zip(self.stages, stochastic_depth.survival_by_stage(self.net, None), strict=True):
      if each is not None:
        survival[stage] = {"block1": each[0], "rest": each[1:]}
    return {**variables, SURVIVAL: survival} if survival else variables

  def stem(self, variables: Variables, x_BxHxWxC: jax.Array, train: bool) -> tuple[jax.Array, Any]:
    """Applies the stem to normalized images; returns the input of the first block and the batch statistics."""
    x = x_BxHxWxC if self.net.precision == "float32" else x_BxHxWxC.astype(self.net.precision)
    return _apply(Stem(self.net.structure.stages[0].filters, self.net), part(variables, "stem"), x, train)

  def block(
    self,
    stage: str,
    first: bool,
    variables: Variables,
    x_BxHxWxC: jax.Array,
    train: bool,
    modify_branch: Callable[[jax.Array], jax.Array] | None = None,
  ) -> tuple[jax.Array, Any]:
    """Applies a block; returns its output and the batch statistics.

    Args:
      stage: Name of the stage.
      first: Whether it is the first block of the stage, the only one that may change shapes.
      variables: Variables of the block, with the collection `SURVIVAL` if there is stochastic depth.
      x_BxHxWxC: Input.
      train: Whether to normalize by the statistics of the batch, which are then returned.
      modify_branch: Function applied to F(x) before the shortcut is added.
    """
    own = {name: tree for name, tree in variables.items() if name != SURVIVAL}
    return _apply(self._module(stage, first), own, x_BxHxWxC, train, modify_branch, variables.get(SURVIVAL))

  def without_branch(
    self, stage: str, first: bool, variables: Variables, x_BxHxWxC: jax.Array, train: bool
  ) -> tuple[jax.Array, Any]:
    """Applies the shortcut of a block alone, or option A's identity in a plain network; otherwise like `block`."""
    y, statistics = self.block(stage, first, variables, x_BxHxWxC, train, jnp.zeros_like)
    if self.net.kind == "plain":
      y = identity_shortcut(self.net, y.shape[-1], self._module(stage, first).stride, x_BxHxWxC)
    return y, statistics

  def head(self, variables: Variables, x_BxHxWxC: jax.Array, train: bool) -> tuple[jax.Array, Any]:
    """Applies the head; returns the logits, float32 [B, classes], and the batch statistics."""
    return _apply(Head(self.classes, self.net), part(variables, "head"), x_BxHxWxC, train)

  def _module(self, stage: str, first: bool) -> Block:
    spec = self.net.structure.stages[int(stage.removeprefix("stage")) - 1]
    return Block(spec.filters, spec.stride if first else 1, self.net)


def part(variables: Variables, *path: str) -> Variables:
  """Returns the variables of the part of a network at a path, such as "stage1", "block1".

  Collections without variables there are omitted.
  """
  for name in path:
    variables = {collection: tree[name] for collection, tree in variables.items() if name in tree}
  return variables


def select_block(stacked: Variables, index: Any) -> Variables:
  """Returns the variables of one of several stacked blocks.

  Args:
    stacked: Variables, each leaf [blocks, ...].
    index: 0-based position of the block, a Python or traced integer.
  """
  return jax.tree.map(lambda leaf: leaf[index], stacked)


def _apply(module: Any, variables: Variables, x: jax.Array, train: bool, *rest: Any) -> tuple[jax.Array, Any]:
  if not train:
    return module.apply(variables, x, train, *rest), _statistics(variables)
  y, updates = module.apply(variables, x, train, *rest, mutable=["batch_stats"])
  return y, _statistics(updates)


def _statistics(variables: Variables) -> Any:
  """Returns the batch statistics, an empty tree if there are no norms."""
  return variables.get("batch_stats", {})
