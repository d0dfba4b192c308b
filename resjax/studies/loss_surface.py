"""The loss of a network as a function of its parameters: at points around the network, and its second derivative."""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from jax import lax
from jax.flatten_util import ravel_pytree

from resjax import mesh
from resjax.data.augment import Statistics, normalize

Params = Any
Matvec = Callable[[np.ndarray], np.ndarray]


def direction(params: Params, seed: int, number: int) -> Params:
  """Returns a random filter-normalized direction (Li et al. 2018): each filter has the norm of the network's filter.

  A filter is the part of a kernel that computes one output channel. The direction is zero for norms and biases.

  Args:
    params: Parameters of the network, with stacked blocks.
    seed: Seed of the direction.
    number: Number of the direction, which distinguishes directions of the same seed.
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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LossSurface:
  """The mean loss of a network over some images as a function of its parameters.

  Attributes:
    net: Flax module of the network.
    batch_size: Images per pass; the last pass is filled up with images that do not count.
    mode: Statistics of batch norm: "running" or "batch".
    variables: Collections `params` and `batch_stats` of the network.
    images: Images, uint8 [N, H, W, C].
    labels: Labels, int32 [N].
    statistics: Statistics by which images are normalized.
  """

  net: nn.Module = dataclasses.field(metadata={"static": True})
  batch_size: int = dataclasses.field(metadata={"static": True})
  mode: str = dataclasses.field(metadata={"static": True})
  variables: Any
  images: jax.Array
  labels: jax.Array
  statistics: Statistics

  @jax.jit
  def losses(self, directions: tuple[Params, Params], points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Evaluates the network at points around its parameters.

    Args:
      directions: Two directions.
      points: Coordinates of the points along the two directions, float32 [points, 2].

    Returns:
      Mean losses in nats, float32 [points], and errors as fractions, float32 [points].
    """

    def at(point: jax.Array) -> tuple[jax.Array, jax.Array]:
      moved = jax.tree.map(lambda p, a, b: p + point[0] * a + point[1] * b, self.variables["params"], *directions)
      starts = jnp.arange(0, len(self.labels), self.batch_size)
      each = lax.map(lambda start: self._sums(moved, start), starts)
      return each[0].sum() / len(self.labels), each[1].sum() / len(self.labels)

    return lax.map(at, points)

  @jax.jit
  def hessian_vector_product(self, vector: Params) -> Params:
    """Returns the Hessian of the mean loss with respect to the parameters, multiplied by a vector.

    It is computed in forward-over-reverse mode: in reverse-over-reverse mode JAX loses the custom derivative of the
    convolution inside the loop over blocks.

    Args:
      vector: Tree with the structure of the parameters.
    """

    def batch(total: Params, start: jax.Array) -> tuple[Params, None]:
      gradient = jax.grad(lambda params: self._sums(params, start)[0])
      _, product = jax.jvp(gradient, (self.variables["params"],), (vector,))
      return jax.tree.map(jnp.add, total, product), None

    starts = jnp.arange(0, len(self.labels), self.batch_size)
    total, _ = lax.scan(batch, jax.tree.map(jnp.zeros_like, vector), starts)
    return jax.tree.map(lambda leaf: leaf / len(self.labels), total)

  def hessian_matvec(self, show: Callable[[str], None]) -> Matvec:
    """Returns the Hessian as a function that multiplies a flat vector, float64 [parameters], by it.

    The order of the parameters is that of `ravel_pytree`.

    Args:
      show: Function that shows progress, called after each product with the curvature along the vector as text.
    """
    _, unflat = ravel_pytree(self.variables["params"])

    def matvec(vector: np.ndarray) -> np.ndarray:
      tree = jax.device_put(unflat(vector.astype(np.float32)), mesh.replicated(jax.sharding.get_mesh()))
      result = np.asarray(ravel_pytree(self.hessian_vector_product(tree))[0], np.float64)
      show(f"{vector @ result / (vector @ vector):.4g}")
      return result

    return matvec

  def _sums(self, params: Params, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the sum of the losses and the number of misclassified images of the batch that starts at an index."""
    labels = self.labels
    place = start + jnp.arange(self.batch_size)
    counts, index = place < len(labels), mesh.shard_batch(place % len(labels))
    inputs, tree = normalize(self.images[index], self.statistics), {**self.variables, "params": params}
    logits, _ = self.net.apply(tree, inputs, train=self.mode == "batch", mutable=["batch_stats"])
    each = optax.softmax_cross_entropy_with_integer_labels(logits, labels[index])
    return jnp.where(counts, each, 0).sum(), (counts & (logits.argmax(-1) != labels[index])).sum()
