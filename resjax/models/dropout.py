"""Dropout on the shortcut (He et al. 2016, "Identity mappings", Sec. 3.1): each step sets half of its values to zero.

As there, the values that stay are not scaled, so that the shortcut has the expectation 0.5 x; at test, and wherever
nothing is drawn, it is 0.5 x.
"""

import jax
import jax.numpy as jnp

from resjax import config

RATE = 0.5
_STREAM = 3  # of a run's key; 0 and 1 are the order of the images and their augmentation, 2 is stochastic depth


def draw(net: config.Model, key: jax.Array, step: jax.Array | int) -> jax.Array | None:
  """Draws a key for the mask of each block, as a function of the run's key and the step alone.

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


def shortcut(x_BxHxWxC: jax.Array, drawn: jax.Array | None) -> jax.Array:
  """Returns the input with about half of its values set to zero, or its expectation.

  Args:
    x_BxHxWxC: Input of the shortcut.
    drawn: Data of the key of the mask, uint32 [key size]; None: 0.5 x.
  """
  if drawn is None:
    return (1 - RATE) * x_BxHxWxC
  stays = jax.random.bernoulli(jax.random.wrap_key_data(drawn), 1 - RATE, x_BxHxWxC.shape)
  return jnp.where(stays, x_BxHxWxC, 0)
