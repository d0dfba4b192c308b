"""Deepening of a trained network by identity blocks, the construction in the paper's argument (Sec. 1).

The new blocks are added at the end of each stage and can be trained further:

- residual: the scale of the last norm, or the last kernel if no norm follows it, is zero, so that F(x) = 0;
- plain: kernels copy each channel, and norms restore the mean and deviation of their input. These blocks are exactly
  the identity with running statistics, and approximately with those of a batch.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from resjax import config, mesh
from resjax.data.augment import Statistics, normalize
from resjax.settings import ConfigError
from resjax.studies.segmented_model import SegmentedModel, Variables, part

NO_IDENTITY = ("C", "gated", "half", "mean", "gate", "exclusive_gate", "dropout")  # shortcuts that change their input
STARTS_AS_IDENTITY = ("rezero", "skipinit", "fixup")  # shortcuts whose blocks are initialized as the identity


def model(net: config.Model, depth: int) -> config.Model:
  """Returns the settings of the deepened network.

  Args:
    net: Settings of the trained network.
    depth: Depth of the deepened network; 0 to double the blocks.

  Raises:
    ConfigError: The network would not be deeper, the family has no network of this depth, or no block of the network
      can be the identity.
  """
  structure = net.structure
  if depth:
    deeper = dataclasses.replace(net, depth=depth)
  else:
    added = sum(structure.blocks_per_stage) * structure.layers_per_block
    listed = net.family != "cifar" or bool(net.blocks)
    blocks = tuple(2 * count for count in structure.blocks_per_stage) if listed else ()
    deeper = dataclasses.replace(net, depth=net.depth + added, blocks=blocks)
  pairs = zip(structure.blocks_per_stage, deeper.structure.blocks_per_stage, strict=False)
  if deeper.depth <= net.depth or any(new < old for old, new in pairs):
    raise ConfigError(f"depth = {depth}: must be greater than {net.depth}, the depth of the trained network")
  reason = _why_no_identity(net)
  if reason:
    raise ConfigError(f"no block of this network can be the identity: {reason}; exclude it with --only")
  return deeper


def _why_no_identity(net: config.Model) -> str | None:
  """Returns the reason why blocks of a network cannot be the identity, or None if they can."""
  if net.family == "vgg":
    return "model.family is 'vgg'"
  if net.activation != "relu":
    return f"model.activation is {net.activation!r}"
  if net.branch_scale:
    return f"model.branch_scale is {net.branch_scale}, which would change the scale of the trained blocks"
  if net.survival < 1:
    return f"model.survival is {net.survival}, which would change the scale of the trained blocks"
  if net.kind == "residual":
    return f"model.shortcut is {net.shortcut!r}" if net.shortcut in NO_IDENTITY else None
  if net.preactivation:
    return "model.kind is 'plain' and model.preactivation is True"
  if net.norm == "layer":
    return "model.kind is 'plain' and model.norm is 'layer'"
  return "model.kind is 'plain' and model.block is 'bottleneck'" if net.block == "bottleneck" else None


def variables(net: config.Model, old: Variables, fresh: Variables, moments: dict[str, jax.Array]) -> Variables:
  """Returns the variables of the deepened network.

  Args:
    net: Settings of either network.
    old: Collections `params` and `batch_stats` of the trained network.
    fresh: Initial variables of the deeper network, which provide the shapes and the random parts of the new blocks.
    moments: Moments of the output of each stage, see `stage_moments`.
  """
  return {
    collection: {
      name: _stage(net, collection, old[collection][name], tree, moments[name]) if name.startswith("stage") else own
      for name, tree in fresh[collection].items()
      for own in [old[collection][name]]
    }
    for collection in fresh
  }


def _stage(net: config.Model, collection: str, old: Any, fresh: Any, moments: jax.Array) -> Any:
  """Returns the variables of a stage: the trained blocks, followed by the new ones."""
  trained = len(jax.tree.leaves(old["rest"])[0]) if "rest" in old else 0
  new = jax.tree.map(lambda leaf: leaf[trained:], fresh["rest"])
  identity = _identity_of_residual if net.kind == "residual" else _identity_of_plain
  new = {name: identity(net, collection, name, layer, moments) for name, layer in new.items()}
  if not trained:
    return {"block1": old["block1"], "rest": new}
  return {"block1": old["block1"], "rest": jax.tree.map(lambda a, b: jnp.concatenate([a, b]), old["rest"], new)}


def _identity_of_residual(net: config.Model, collection: str, name: str, layer: Any, _: jax.Array) -> Any:
  """Returns the variables of a layer of new residual blocks, such that the output of the main branch is zero."""
  if collection == "batch_stats" or net.shortcut in STARTS_AS_IDENTITY:
    return layer
  last = net.structure.layers_per_block
  zeroed = [f"conv{last}"] if net.preactivation or net.norm == "none" else [f"norm{last}"]
  return jax.tree.map(jnp.zeros_like, layer) if name in zeroed else layer


def _identity_of_plain(net: config.Model, collection: str, name: str, layer: Any, moments: jax.Array) -> Any:
  """Returns the variables of a layer of new plain blocks, such that the layer is the identity."""
  mean, var = moments
  if collection == "batch_stats":
    values = {"mean": mean, "var": var}
  elif name.startswith("conv"):
    kernel = layer["kernel"]
    middle = kernel.shape[1] // 2
    values = {"kernel": jnp.zeros_like(kernel[0]).at[middle, middle].set(jnp.eye(kernel.shape[-1]))}
  elif net.norm == "batch":
    values = {"scale": jnp.sqrt(var + net.norm_epsilon), "bias": mean}
  else:
    values = {"bias": jnp.zeros_like(mean)}
  return {key: jnp.broadcast_to(value, layer[key].shape) for key, value in values.items()}


@functools.partial(jax.jit, static_argnames=("segmented", "batch_size"))
def stage_moments(
  segmented: SegmentedModel, batch_size: int, variables: Variables, images: jax.Array, statistics: Statistics
) -> dict[str, jax.Array]:
  """Returns mean and variance of each channel of the output of each stage, float32 [2, C], with running statistics.

  Args:
    segmented: Network in segments.
    batch_size: Images per forward pass; the last batch is filled up with the first images.
    variables: Collections `params` and `batch_stats` of the network.
    images: Images, uint8 [N, H, W, C].
    statistics: Statistics by which images are normalized.
  """

  def batch(start: jax.Array) -> dict[str, jax.Array]:
    index = mesh.shard_batch((start + jnp.arange(batch_size)) % len(images))
    x, _ = segmented.stem(variables, normalize(images[index], statistics), train=False)
    found = {}
    for stage, blocks in segmented.stages.items():
      x, _ = segmented.block(stage, True, part(variables, stage, "block1"), x, train=False)
      if blocks > 1:

        def forward(x: jax.Array, own: Variables, stage: str = stage) -> tuple[jax.Array, None]:
          return segmented.block(stage, False, own, x, train=False)[0], None

        x, _ = lax.scan(forward, x, part(variables, stage, "rest"))
      wide = x.astype(jnp.float32)
      found[stage] = jnp.stack([wide.mean((0, 1, 2)), wide.var((0, 1, 2))])
    return found

  def combined(moments: jax.Array) -> jax.Array:
    means, variances = moments[:, 0], moments[:, 1]
    return jnp.stack([means.mean(0), variances.mean(0) + means.var(0)])

  return jax.tree.map(combined, lax.map(batch, jnp.arange(0, len(images), batch_size)))
