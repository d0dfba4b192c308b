"""Capture of gradient norms by layer with separate programs, outside of the training step."""

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
    net: Flax module of the network.
    settings: Settings of the capture; `images`, `batch_size` and `mode` are used.
    variables: Parameters and batch statistics, which are not changed.
    images: Images without augmentation, uint8 [N, H, W, C], N at least `settings.images`.
    labels: Labels, int32 [N].
    statistics: Statistics by which images are normalized.

  Returns:
    Tree with the structure of the parameters. Each leaf is float32 [(blocks,) 2]: L2 norms of gradient and weights.
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
  """Returns one line of `gradients.jsonl` for each weighted layer, from input to output.

  Args:
    step: Step of the captured network.
    table: Layer table of the network.
    norms: Norms returned by `capture`.
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
