"""Evaluation of images held in memory, each of which counts once, by one compiled program."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax import lax

from resjax import mesh
from resjax.data.augment import Statistics, normalize


@functools.partial(jax.jit, static_argnames=("net", "batch_size"))
def evaluate(
  net: nn.Module,
  batch_size: int,
  variables: Any,
  images_NxHxWxC: jax.Array,
  labels_N: jax.Array,
  statistics: Statistics,
) -> tuple[jax.Array, jax.Array]:
  """Tests a network on images without augmentation, with running statistics.

  Args:
    net: Flax module of the network.
    batch_size: Number of images per forward pass.
    variables: Parameters and batch statistics.
    images_NxHxWxC: Images, uint8.
    labels_N: Labels, int32.
    statistics: Mean and standard deviation with which images are normalized.

  Returns:
    Sum of the losses (float32, nats) and number of misclassified images (int32). The last minibatch is padded, and the
    padding is masked out.
  """
  total = len(labels_N)

  def batch(start: jax.Array) -> tuple[jax.Array, jax.Array]:
    index = mesh.shard_batch(start + jnp.arange(batch_size))
    counts, index = index < total, jnp.minimum(index, total - 1)
    return evaluate_batch(net, variables, images_NxHxWxC[index], labels_N[index], counts, statistics)

  losses, wrongs = lax.map(batch, jnp.arange(0, total, batch_size))
  return losses.sum(), wrongs.sum()


@functools.partial(jax.jit, static_argnames="net")
def evaluate_batch(
  net: nn.Module,
  variables: Any,
  images_BxHxWxC: jax.Array,
  labels_B: jax.Array,
  counts_B: jax.Array,
  statistics: Statistics,
) -> tuple[jax.Array, jax.Array]:
  """Tests a network on one minibatch, with running statistics.

  Args:
    net: Flax module of the network.
    variables: Parameters and batch statistics.
    images_BxHxWxC: Images, uint8.
    labels_B: Labels, int32.
    counts_B: Whether an image counts, bool.
    statistics: Mean and standard deviation with which images are normalized.

  Returns:
    Sum of the losses (float32, nats) and number of misclassified images (int32).
  """
  logits = net.apply(variables, normalize(images_BxHxWxC, statistics), train=False)
  losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels_B)
  wrong = logits.argmax(-1) != labels_B
  return jnp.where(counts_B, losses, 0).sum(), (counts_B & wrong).sum()


@functools.partial(jax.jit, static_argnames=("net", "batch_size"))
def logits(
  net: nn.Module, batch_size: int, variables: Any, images_NxHxWxC: jax.Array, statistics: Statistics
) -> jax.Array:
  """Returns the logits of images, float32 [N, classes], with running statistics; arguments are as in `evaluate`."""
  total = len(images_NxHxWxC)

  def batch(start: jax.Array) -> jax.Array:
    index = mesh.shard_batch(jnp.minimum(start + jnp.arange(batch_size), total - 1))
    return net.apply(variables, normalize(images_NxHxWxC[index], statistics), train=False)

  each = lax.map(batch, jnp.arange(0, total, batch_size))
  return each.reshape(-1, each.shape[-1])[:total]


@functools.partial(jax.jit, static_argnames=("net", "batch_size"))
def training_set_statistics(
  net: nn.Module, batch_size: int, variables: Any, images_NxHxWxC: jax.Array, statistics: Statistics
) -> Any:
  """Returns batch statistics averaged over the minibatches of the training set, without augmentation.

  The networks released by the authors of the paper have such statistics. The last minibatch is padded with the
  first images.

  Args:
    net: Flax module of the network; the momentum of its norms has no effect here.
    batch_size: Images per forward pass, as in training.
    variables: Parameters and batch statistics.
    images_NxHxWxC: Training images, uint8.
    statistics: Mean and standard deviation with which images are normalized.
  """

  def batch(total: Any, start: jax.Array) -> tuple[Any, None]:
    index = mesh.shard_batch((start + jnp.arange(batch_size)) % len(images_NxHxWxC))
    return jax.tree.map(jnp.add, total, batch_statistics(net, variables, images_NxHxWxC[index], statistics)), None

  starts = jnp.arange(0, len(images_NxHxWxC), batch_size)
  total, _ = lax.scan(batch, jax.tree.map(jnp.zeros_like, variables["batch_stats"]), starts)
  return jax.tree.map(lambda leaf: leaf / len(starts), total)


@functools.partial(jax.jit, static_argnames="net")
def batch_statistics(net: nn.Module, variables: Any, images_BxHxWxC: jax.Array, statistics: Statistics) -> Any:
  """Returns the batch statistics of one minibatch of images, uint8."""
  forget = net.clone(net=dataclasses.replace(net.net, norm_momentum=0.0))
  _, updates = forget.apply(variables, normalize(images_BxHxWxC, statistics), train=True, mutable=["batch_stats"])
  return updates["batch_stats"]
