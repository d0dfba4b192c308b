"""Dropout on the shortcut (He et al. 2016, "Identity mappings", Sec. 3.1): each step sets half of its values to zero.

As in that paper, the other values are not scaled, so that the mean of the shortcut is 0.5 x. At test, and whenever no
mask is drawn, it is 0.5 x.
"""

import jax
import jax.numpy as jnp

from resjax import config

RATE = 0.5  # probability that a value is set to zero
_STREAM = 3  # folded into the key of a run; 0 and 1 are sample order and augmentation, 2 is stochastic depth


def draw(net: config.Model, key: jax.Array, step: jax.Array | int) -> jax.Array | None:
  """Returns the key of the mask of each block, a function of the run's key and the step alone.

  Args:
    net: Settings of the network.
    key: Key of the run.
    step: The step, counted from 0.

  Returns:
    Data of the keys, uint32 [blocks, key size]; None for a network without dropout.
  """
  if not used(net):
    return None
  blocks = sum(net.structure.blocks_per_stage)
  return jax.random.key_data(jax.random.split(jax.random.fold_in(jax.random.fold_in(key, _STREAM), step), blocks))


def used(net: config.Model) -> bool:
  """Returns whether the shortcuts of a network have dropout."""
  return net.kind == "residual" and net.shortcut == "dropout"


def shortcut(x_BxHxWxC: jax.Array, key_data: jax.Array | None) -> jax.Array:
  """Returns the input with about half of its values set to zero, or the mean over all masks.

  Args:
    x_BxHxWxC: Input of the shortcut.
    key_data: Data of the key of the mask, uint32 [key size]; None: 0.5 x is returned.
  """
  if key_data is None:
    return (1 - RATE) * x_BxHxWxC
  kept = jax.random.bernoulli(jax.random.wrap_key_data(key_data), 1 - RATE, x_BxHxWxC.shape)
  return jnp.where(kept, x_BxHxWxC, 0)
