"""A stack of equal blocks, applied one after another: a loop, so that the program is as long at any depth.

The variables of the blocks are stacked along a leading axis, whichever way the loop is executed.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Block = Callable[[jax.Array, Any], tuple[jax.Array, Any]]  # (input, variables) -> (output, what it sows and updates)


@dataclasses.dataclass(frozen=True)
class Loop:
  """How a stack is executed. Changes memory, compile time and speed, and results to rounding only.

  Attributes:
    unroll: blocks that stand one after another in the loop's body; as many as there are: no loop.
    remat: what is computed again in the backward pass instead of kept. "none": nothing. "block": the insides of the
      blocks; their inputs are kept. "group": sqrt(blocks) groups are kept at their inputs and computed again one at a
      time, so that memory grows with the square root of depth (Chen et al., 2016, "sublinear memory cost").
  """

  unroll: int = 1
  remat: str = "none"


def apply(block: Block, x: jax.Array, stacked: Any, loop: Loop) -> tuple[jax.Array, Any]:
  """Applies the blocks one after another.

  Args:
    block: one of them.
    x: input of the first, of the shape and type of every block's output.
    stacked: variables of all blocks, each leaf [blocks, ...].
    loop: how.

  Returns:
    The last output, and what the blocks returned beside it, each leaf [blocks, ...].
  """
  blocks = len(jax.tree.leaves(stacked)[0])
  # Inside a loop nothing can be merged with the forward pass, and the barriers against that are not needed.
  remat = functools.partial(jax.checkpoint, prevent_cse=loop.unroll >= blocks)
  if loop.remat == "block":
    block = remat(block)

  def run(x: jax.Array, part: Any) -> tuple[jax.Array, Any]:
    return lax.scan(block, x, part, unroll=min(loop.unroll, len(jax.tree.leaves(part)[0])))

  if loop.remat != "group":
    return run(x, stacked)
  size = math.isqrt(blocks)
  whole = blocks // size * size
  grouped = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, size, *leaf.shape[1:]), stacked)
  x, sown = lax.scan(remat(run), x, grouped)
  sown = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), sown)
  if whole == blocks:
    return x, sown
  x, rest = remat(run)(x, jax.tree.map(lambda leaf: leaf[whole:], stacked))
  return x, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), sown, rest)
