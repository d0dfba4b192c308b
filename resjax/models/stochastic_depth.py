"""Stochastic depth (Huang et al. 2016): each minibatch of training passes a random part of the blocks.

Block b of B is kept with probability p_b = 1 - b / B (1 - p_B). A block that is dropped leaves its shortcut; at test,
and wherever nothing is drawn, each main branch is multiplied by its p_b.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from resjax import config

_STREAM = 2  # of a run's key; 0 and 1 are the order of the images and their augmentation, see `train.step`


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


def by_stage(net: config.Model, kept: jax.Array | None) -> list[jax.Array | None]:
  """Returns the `survival` of the blocks of each stage, [blocks] each; see `branch`.

  Args:
    net: Settings of the network.
    kept: What `draw` or `dropout.draw` returned; None: at test, or where batch statistics are taken without training.
  """
  blocks = net.structure.blocks_per_stage
  if net.survival == 1 and kept is None:
    return [None] * len(blocks)
  every = jnp.asarray(probabilities(net), jnp.float32) if kept is None else kept
  return list(jnp.split(every, np.cumsum(blocks)[:-1]))


def branch(
  block: nn.Module,
  main: Callable[[Any, jax.Array], jax.Array],
  x: jax.Array,
  shape: tuple[int, ...],
  survival: jax.Array | None,
) -> jax.Array:
  """Applies the main branch of a block, or drops it with everything in it: its work and its batch statistics.

  Outside of `vmap` a dropped branch is not computed, neither forward nor backward.

  Args:
    block: The block.
    main: Its main branch, a function of the block and its input.
    x: Input of the main branch, [B, H, W, C].
    shape: Shape of its output, whose type is that of the input.
    survival: Whether the block is kept, bool scalar; or the factor of its main branch, float32 scalar; None: 1.

  Returns:
    Output of the main branch; zeros if it is dropped.
  """
  if survival is None:
    return main(block, x)
  if survival.dtype != bool:
    y = main(block, x)
    return survival.astype(y.dtype) * y
  return nn.cond(survival, main, lambda _, x: jnp.zeros(shape, x.dtype), block, x)
