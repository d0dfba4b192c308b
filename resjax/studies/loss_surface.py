"""The loss as a function of a net's parameters: around it, along two directions, and its second derivative."""

import functools
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import lax

from resjax import mesh
from resjax.data.augment import Statistics, normalize

Params = Any


def direction(params: Params, seed: int, number: int) -> Params:
  """Returns a random filter-normalised direction (Li et al. 2018): each filter has the norm of the net's own.

  A filter is what makes one output channel of a kernel. Norms and biases stay where they are.

  Args:
    params: of the net, stacked.
    seed, number: of the direction.
  """

  def leaf(path: Any, own: jax.Array) -> np.ndarray:
    names = [key.key for key in path]
    if names[-1] != "kernel":
      return np.zeros(own.shape, np.float32)
    rng = np.random.default_rng([seed, number, zlib.crc32("/".join(names).encode())])
    drawn = rng.standard_normal(own.shape, np.float32)
    axes = tuple(range("rest" in names, own.ndim - 1))
    norms = [np.sqrt(np.square(array).sum(axes, keepdims=True)) for array in (np.asarray(own), drawn)]
    return drawn * norms[0] / norms[1]

  return jax.tree_util.tree_map_with_path(leaf, params)


@functools.partial(jax.jit, static_argnames=("net", "batch_size", "mode"))
def losses(
  net: nn.Module,
  batch_size: int,
  mode: str,
  variables: Any,
  directions: tuple[Params, Params],
  points: jax.Array,
  images: jax.Array,
  labels: jax.Array,
  statistics: Statistics,
) -> tuple[jax.Array, jax.Array]:
  """Tests a net at points around it.

  Args:
    net: the model.
    batch_size: images a forward pass; the last pass is filled up from the first images, which do not count.
    mode: statistics of batch norm: "running" or "batch".
    variables: its `params` and `batch_stats`.
    directions: two.
    points: float32 [points, 2], by the directions.
    images: uint8 [N, H, W, C].
    labels: int32 [N].
    statistics: what images are normalised with.

  Returns:
    Mean losses, float32 [points] (nats), and errors, float32 [points] (fractions).
  """

  def at(point: jax.Array) -> tuple[jax.Array, jax.Array]:
    moved = jax.tree.map(lambda p, a, b: p + point[0] * a + point[1] * b, variables["params"], *directions)

    def batch(start: jax.Array) -> tuple[jax.Array, jax.Array]:
      return _sums(net, batch_size, mode, variables, moved, start, images, labels, statistics)

    each = lax.map(batch, jnp.arange(0, len(labels), batch_size))
    return each[0].sum() / len(labels), each[1].sum() / len(labels)

  return lax.map(at, points)


@functools.partial(jax.jit, static_argnames=("net", "batch_size", "mode"))
def hessian_times(
  net: nn.Module,
  batch_size: int,
  mode: str,
  variables: Any,
  vector: Params,
  images: jax.Array,
  labels: jax.Array,
  statistics: Statistics,
) -> Params:
  """Returns the Hessian of the mean loss by the parameters times a vector; see `losses` for the arguments.

  Forward over backward: twice backward JAX loses what the convolution's own derivative keeps in a loop over blocks.
  """

  def batch(total: Params, start: jax.Array) -> tuple[Params, None]:
    def loss(params: Params) -> jax.Array:
      return _sums(net, batch_size, mode, variables, params, start, images, labels, statistics)[0]

    _, product = jax.jvp(jax.grad(loss), (variables["params"],), (vector,))
    return jax.tree.map(jnp.add, total, product), None

  starts = jnp.arange(0, len(labels), batch_size)
  total, _ = lax.scan(batch, jax.tree.map(jnp.zeros_like, vector), starts)
  return jax.tree.map(lambda leaf: leaf / len(labels), total)


def _sums(
  net: nn.Module,
  batch_size: int,
  mode: str,
  variables: Any,
  params: Params,
  start: jax.Array,
  images: jax.Array,
  labels: jax.Array,
  statistics: Statistics,
) -> tuple[jax.Array, jax.Array]:
  """Returns the sum of the losses and the number of wrong images of a batch."""
  place = start + jnp.arange(batch_size)
  counts, index = place < len(labels), mesh.shard_batch(place % len(labels))
  inputs, tree = normalize(images[index], statistics), {**variables, "params": params}
  logits, _ = net.apply(tree, inputs, train=mode == "batch", mutable=["batch_stats"])
  each = optax.softmax_cross_entropy_with_integer_labels(logits, labels[index])
  return jnp.where(counts, each, 0).sum(), (counts & (logits.argmax(-1) != labels[index])).sum()
