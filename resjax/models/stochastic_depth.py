"""Stochastic depth (Huang et al. 2016): each training step drops the main branches of randomly chosen blocks.

Block b of L is kept with probability p_b = 1 - b / L (1 - p_L); of a dropped block only the shortcut remains. At test,
and whenever nothing is drawn, each main branch is multiplied by its p_b.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from resjax import config

_STREAM = 2  # folded into the key of a run; 0 and 1 are sample order and augmentation, see `train.step`


def probabilities(net: config.Model) -> np.ndarray:
  """Returns the survival probability p_b of each block, from input to output, float64 [blocks]."""
  blocks = sum(net.structure.blocks_per_stage)
  return 1 - np.arange(1, blocks + 1) / blocks * (1 - net.survival)


def draw(net: config.Model, key: jax.Array, step: jax.Array | int) -> jax.Array | None:
  """Draws which blocks a step keeps, as a function of the run's key and the step alone.

  Args:
    net: Settings of the network.
    key: Key of the run.
    step: The step, counted from 0.

  Returns:
    Whether each block is kept, bool [blocks]; None for a network without stochastic depth.
  """
  if net.survival == 1:
    return None
  return jax.random.bernoulli(jax.random.fold_in(jax.random.fold_in(key, _STREAM), step), probabilities(net))


def survival_by_stage(net: config.Model, kept: jax.Array | None) -> list[jax.Array | None]:
  """Returns the argument `survival` of the blocks of each stage, [blocks, ...] each, see `blocks.Block`.

  Args:
    net: Settings of the network.
    kept: Result of `draw` or `dropout.draw`; None at test, or if batch statistics are taken outside of training.
  """
  blocks = net.structure.blocks_per_stage
  if net.survival == 1 and kept is None:
    return [None] * len(blocks)
  values = jnp.asarray(probabilities(net), jnp.float32) if kept is None else kept
  return list(jnp.split(values, np.cumsum(blocks)[:-1]))


def apply_branch(
  block: nn.Module,
  branch: Callable[[Any, jax.Array], jax.Array],
  x: jax.Array,
  shape: tuple[int, ...],
  survival: jax.Array | None,
) -> jax.Array:
  """Applies the main branch of a block, or drops it; running statistics of a dropped branch are not updated.

  Outside of `vmap` a dropped branch is not computed, neither in the forward nor in the backward pass.

  Args:
    block: The block.
    branch: Main branch, a function of the block and its input.
    x: Input of the main branch, [B, H, W, C].
    shape: Shape of the output of the main branch, whose dtype is that of the input.
    survival: Whether the block is kept, bool []; or the factor of its main branch, float32 []; None: the factor is 1.

  Returns:
    Output of the main branch; zeros if it is dropped.
  """
  if survival is None:
    return branch(block, x)
  if survival.dtype != bool:
    y = branch(block, x)
    return survival.astype(y.dtype) * y
  return nn.cond(survival, branch, lambda _, x: jnp.zeros(shape, x.dtype), block, x)
