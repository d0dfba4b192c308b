"""Capture of layer responses (Fig. 7) by separate forward programs, outside of the training step."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn, traverse_util
from jax import lax

from resjax import mesh
from resjax.config.runtime import ResponseCapture
from resjax.data.augment import Statistics, normalize
from resjax.depth import Layer
from resjax.models import layout
from resjax.models.response_statistics import COLLECTION


@functools.partial(jax.jit, static_argnames=("net", "settings"))
def capture(
  net: nn.Module, settings: ResponseCapture, variables: Any, images: jax.Array, statistics: Statistics
) -> Any:
  """Returns the moments of each layer's response, batch by batch.

  Args:
    net: Flax module of the network.
    settings: Settings of the capture; `images`, `batch_size` and `mode` are used.
    variables: Parameters and batch statistics, which are not changed.
    images: Images, uint8 [N, H, W, C], N at least `settings.images`.
    statistics: Statistics by which images are normalized.

  Returns:
    Tree with the structure of the network. Each leaf is float32 [batches, (blocks,) parts, 2, channels]: mean and
    variance of each channel in each part of a batch.
  """
  train = settings.mode == "batch"

  def batch(start: jax.Array) -> Any:
    index = mesh.shard_batch(start + jnp.arange(settings.batch_size))
    mutable = [COLLECTION, "batch_stats"] if train else [COLLECTION]
    _, sown = net.apply(variables, normalize(images[index], statistics), train=train, mutable=mutable)
    return sown[COLLECTION]

  return lax.map(batch, jnp.arange(0, settings.images, settings.batch_size))


def lines(settings: ResponseCapture, step: int, table: list[Layer], moments: Any) -> list[dict[str, Any]]:
  """Returns one line of `responses.jsonl` for each counted layer, from input to output.

  Args:
    settings: Settings of the capture.
    step: Step of the captured network.
    table: Layer table of the network.
    moments: Moments returned by `capture`.
  """
  flat = by_name(moments)
  counted = [layer for layer in table if layer.kind == "conv" and layer.weighted and layer.kernel == 3]
  if not settings.first_conv:
    counted = [layer for layer in counted if layer.name != "stem/conv"]
  rows = []
  for position, layer in enumerate(counted, 1):
    mean, std = summarize(flat[f"{layer.name}_response"], settings.pooling)
    rows.append(
      {
        "step": step,
        "layer": position,
        "name": layer.name,
        "stage": layer.stage,
        "block": layer.block,
        "std": std,
        "mean": mean,
        "units": layer.outputs * layer.size[0] * layer.size[1],
        "images": settings.images,
        "mode": settings.mode,
      }
    )
  return rows


def block_lines(settings: ResponseCapture, step: int, table: list[Layer], moments: Any) -> list[dict[str, Any]]:
  """Returns one line for each block, from input to output, with the deviations of its input and its main branch.

  Args:
    settings: Settings of the capture.
    step: Step of the captured network.
    table: Layer table of the network.
    moments: Moments returned by `capture`.
  """
  flat = by_name(moments)
  blocks = dict.fromkeys((layer.stage, layer.block) for layer in table if layer.block)
  rows = []
  for stage, block in blocks:
    where = f"stage{stage}/block{block}"
    rows.append(
      {
        "step": step,
        "stage": stage,
        "block": block,
        "input_std": summarize(flat[f"{where}/input_response"], settings.pooling)[1],
        "branch_std": summarize(flat[f"{where}/branch_response"], settings.pooling)[1],
        "images": settings.images,
        "mode": settings.mode,
      }
    )
  return rows


def by_name(moments: Any) -> dict[str, np.ndarray]:
  """Returns moments from `capture` by the name of the layer or block, float64 [2, channels, parts of all batches]."""
  by_block = jax.tree.map(lambda leaf: np.moveaxis(np.asarray(leaf, np.float64), 0, -1), mesh.gather(moments))
  flat = traverse_util.flatten_dict(layout.unstacked(by_block), sep="/")
  return {name: np.moveaxis(leaf, 0, -1).reshape(*leaf.shape[1:3], -1) for name, leaf in flat.items()}


def summarize(moments: np.ndarray, pooling: str) -> tuple[float, float]:
  """Returns mean and standard deviation of a layer's response.

  Args:
    moments: Mean and variance of each channel in parts of equal size, float64 [2, channels, parts].
    pooling: "units" for the deviation over all units of the layer, "channels" for the mean of the channels' deviations.
  """
  means, variances = moments
  mean = means.mean(-1)
  variance = variances.mean(-1) + means.var(-1)
  if pooling == "channels":
    return float(mean.mean()), float(np.sqrt(variance).mean())
  return float(mean.mean()), float(np.sqrt(variance.mean() + mean.var()))
