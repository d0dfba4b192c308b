"""Features of regions on a grid of fixed size: RoIAlign (He et al. 2017) and RoI max pooling (Girshick 2015).

Both are separable. RoIAlign, the mean of bilinear samples, is two matrix products; neither it nor its gradient
scatters, so that results are the same at each execution.
"""

import jax
import jax.numpy as jnp
from jax import lax

SAMPLES = 2  # samples per bin and axis


def align(features_HxWxC: jax.Array, regions_Rx4: jax.Array, stride: int, size: int) -> jax.Array:
  """Returns RoIAlign [R, size, size, C], with `SAMPLES` samples on each axis and no shift by half a pixel.

  Args:
    features_HxWxC: Features of one image.
    regions_Rx4: Regions in pixels of the image.
    stride: Pixels of the image per position of the features.
    size: Bins on each axis.
  """
  height, width, _ = features_HxWxC.shape
  regions = regions_Rx4 / stride
  rows = _weights(regions[:, 1], regions[:, 3], height, size)
  columns = _weights(regions[:, 0], regions[:, 2], width, size)
  narrow = jnp.einsum("rph,hwc->rpwc", rows.astype(features_HxWxC.dtype), features_HxWxC)
  return jnp.einsum("rpwc,rqw->rpqc", narrow, columns.astype(features_HxWxC.dtype))


def _weights(low: jax.Array, high: jax.Array, length: int, size: int) -> jax.Array:
  """Returns how much each of `length` positions contributes to each bin of each interval, [R, size, length]."""
  bin_length = jnp.maximum(high - low, 1.0)[:, None] / size
  places = low[:, None] + (jnp.arange(size * SAMPLES) + 0.5) / SAMPLES * bin_length
  outside = (places < -1) | (places > length)
  places = jnp.clip(places, 0, length - 1)
  shares = jnp.maximum(1 - jnp.abs(places[..., None] - jnp.arange(length)), 0)
  shares = jnp.where(outside[..., None], 0, shares)
  return shares.reshape(len(low), size, SAMPLES, length).mean(2)


def max_pool(features_HxWxC: jax.Array, regions_Rx4: jax.Array, stride: int, size: int) -> jax.Array:
  """Returns RoI max pooling [R, size, size, C] on whole positions; an empty bin is 0. Arguments as in `align`."""
  height, width, _ = features_HxWxC.shape
  corners = jnp.floor(regions_Rx4 / stride + 0.5)
  rows = _bins(corners[:, 1], corners[:, 3], height, size)
  columns = _bins(corners[:, 0], corners[:, 2], width, size)

  def one(masks: tuple[jax.Array, jax.Array]) -> jax.Array:
    row, column = masks
    narrow = jnp.where(row[..., None, None], features_HxWxC, -jnp.inf).max(1)  # [size, W, C]
    return jnp.where(column[None, ..., None], narrow[:, None], -jnp.inf).max(2)

  pooled = lax.map(one, (rows, columns))
  return jnp.where(jnp.isfinite(pooled), pooled, 0).astype(features_HxWxC.dtype)


def _bins(low: jax.Array, high: jax.Array, length: int, size: int) -> jax.Array:
  """Returns which positions belong to each bin of each interval, bool [R, size, length]; bins may share positions."""
  bin_length = (jnp.maximum(high - low + 1, 1.0) / size)[:, None]
  bins = jnp.arange(size)
  first = jnp.clip(jnp.floor(bins * bin_length) + low[:, None], 0, length)
  behind = jnp.clip(jnp.ceil((bins + 1) * bin_length) + low[:, None], 0, length)
  places = jnp.arange(length)
  return (places >= first[..., None]) & (places < behind[..., None])


POOLING = {"align": align, "max": max_pool}
