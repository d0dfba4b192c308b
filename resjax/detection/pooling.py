"""Pooling of the features of regions to a fixed size: RoIAlign (He et al. 2017) and RoI max pooling (Girshick 2015).

Both are separable in rows and columns. RoIAlign is two matrix products; neither it nor its gradient needs a scatter, so
that results are deterministic.
"""

import jax
import jax.numpy as jnp
from jax import lax

SAMPLES = 2  # bilinear samples per bin along each axis


def roi_align(features_HxWxC: jax.Array, regions_Rx4: jax.Array, stride: int, size: int) -> jax.Array:
  """Returns the features of regions by RoIAlign, [R, size, size, C].

  A bin is the mean of `SAMPLES` x `SAMPLES` bilinear samples. Coordinates are not shifted by half a pixel
  (`aligned=False` in torchvision).

  Args:
    features_HxWxC: Feature map of one image.
    regions_Rx4: Regions in pixels of the image.
    stride: Image pixels per position of the feature map.
    size: Number of bins along each axis.
  """
  height, width, _ = features_HxWxC.shape
  regions = regions_Rx4 / stride
  rows = _weights(regions[:, 1], regions[:, 3], height, size)
  columns = _weights(regions[:, 0], regions[:, 2], width, size)
  narrow = jnp.einsum("rph,hwc->rpwc", rows.astype(features_HxWxC.dtype), features_HxWxC)
  return jnp.einsum("rpwc,rqw->rpqc", narrow, columns.astype(features_HxWxC.dtype))


def _weights(low: jax.Array, high: jax.Array, length: int, size: int) -> jax.Array:
  """Returns the weight of each position of an axis in each bin of each interval, [R, size, length]."""
  bin_length = jnp.maximum(high - low, 1.0)[:, None] / size
  places = low[:, None] + (jnp.arange(size * SAMPLES) + 0.5) / SAMPLES * bin_length
  outside = (places < -1) | (places > length)
  places = jnp.clip(places, 0, length - 1)
  shares = jnp.maximum(1 - jnp.abs(places[..., None] - jnp.arange(length)), 0)
  shares = jnp.where(outside[..., None], 0, shares)
  return shares.reshape(len(low), size, SAMPLES, length).mean(2)


def roi_max_pool(features_HxWxC: jax.Array, regions_Rx4: jax.Array, stride: int, size: int) -> jax.Array:
  """Returns the features of regions by RoI max pooling, [R, size, size, C]; empty bins are 0.

  Arguments are as in `roi_align`; the borders of regions and bins are rounded to positions of the feature map.
  """
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
  """Returns whether a position of an axis is in a bin of an interval, bool [R, size, length]; bins may overlap."""
  bin_length = (jnp.maximum(high - low + 1, 1.0) / size)[:, None]
  bins = jnp.arange(size)
  first = jnp.clip(jnp.floor(bins * bin_length) + low[:, None], 0, length)
  behind = jnp.clip(jnp.ceil((bins + 1) * bin_length) + low[:, None], 0, length)
  places = jnp.arange(length)
  return (places >= first[..., None]) & (places < behind[..., None])


POOLING = {"align": roi_align, "max": roi_max_pool}
