"""Capturing the norm of the gradient by each layer's weights: programs of their own, beside training."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn, traverse_util
from jax import lax

from resjax import mesh
from resjax.config.runtime import GradientCapture
from resjax.data.augment import Statistics, normalize
from resjax.depth import Layer
from resjax.models import layout


@functools.partial(jax.jit, static_argnames=("net", "settings"))
def capture(
  net: nn.Module,
  settings: GradientCapture,
  variables: Any,
  images: jax.Array,
  labels: jax.Array,
  statistics: Statistics,
) -> Any:
  """Returns the norms of the gradient of the mean loss, without weight decay, and of the weights.

  Args:
    net: the model.
    settings: `images`, `batch_size` and `mode` are read.
    variables: parameters and batch statistics; left as they are.
    images: uint8 [N, H, W, C], N at least `settings.images`, as they are.
    labels: int32 [N].
    statistics: what the images are normalised with.

  Returns:
    A tree with the net's structure; of each parameter float32 [(blocks,) 2]: L2 norm of gradient and of weights.
  """
  train = settings.mode == "batch"

  def loss_of(params: Any, index: jax.Array) -> jax.Array:
    inputs = normalize(images[index], statistics)
    logits, _ = net.apply({**variables, "params": params}, inputs, train=train, mutable=["batch_stats"])
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels[index]).mean()

  def batch(total: Any, start: jax.Array) -> tuple[Any, None]:
    index = mesh.shard_batch(start + jnp.arange(settings.batch_size))
    return jax.tree.map(jnp.add, total, jax.grad(loss_of)(variables["params"], index)), None

  starts = jnp.arange(0, settings.images, settings.batch_size)
  total, _ = lax.scan(batch, jax.tree.map(jnp.zeros_like, variables["params"]), starts)

  def norms(path: Any, gradient: jax.Array, weights: jax.Array) -> jax.Array:
    stacked = any(key.key == "rest" for key in path)
    axes = tuple(range(int(stacked), weights.ndim))
    sums = (jnp.square(array).sum(axes) for array in (gradient / len(starts), weights))
    return jnp.sqrt(jnp.stack(list(sums), -1))

  return jax.tree_util.tree_map_with_path(norms, total, variables["params"])


def lines(step: int, table: list[Layer], norms: Any) -> list[dict[str, Any]]:
  """Returns a line of `gradients.jsonl` a weighted layer, from input to output.

  Args:
    step: at which the norms were captured.
    table: the net's layers.
    norms: what `capture` returned.
  """
  flat = traverse_util.flatten_dict(layout.unstacked(jax.tree.map(np.asarray, norms)), sep="/")
  rows = []
  for position, layer in enumerate((layer for layer in table if layer.weighted), 1):
    norm, weight_norm = flat[f"{layer.name}/kernel"].tolist()
    rows.append(
      {
        "step": step,
        "layer": position,
        "name": layer.name,
        "stage": layer.stage,
        "block": layer.block,
        "norm": norm,
        "weight_norm": weight_norm,
      }
    )
  return rows
