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

# On a GPU the body of a loop is a CUDA graph of its own, and its slices of the stacked variables are kernels; without
# the loop a whole step is one graph. Up to the stages of 110 layers that is worth the time it takes to compile.
UNROLLED_ON_GPU = 18

CONVOLUTION, STATISTICS = "convolution", "statistics"  # names of what remat="elementwise" keeps
Block = Callable[[jax.Array, Any], tuple[jax.Array, Any]]  # (input, variables) -> (output, what it sows and updates)


@dataclasses.dataclass(frozen=True)
class ScanOptions:
  """How a stack is executed. Changes memory, compile time and speed, and results to rounding only.

  Attributes:
    unroll: Blocks that stand one after another in the loop's body; as many as there are: no loop. 0: as
      `UNROLLED_ON_GPU` says.
    remat: What the backward pass computes again instead of keeping it. "none": nothing. "elementwise": norms,
      activations and additions; outputs of convolutions and statistics of norms are kept. "block": the insides of the
      blocks; their inputs are kept. "group": sqrt(blocks) groups are kept at their inputs and computed again one at a
      time, so that memory grows with the square root of depth (Chen et al., 2016, "sublinear memory cost"). "auto":
      "elementwise" on a CPU, where arrays that a loop keeps are copied once more, else "none".
  """

  unroll: int = 0
  remat: str = "auto"

  def unrolled(self, blocks: int) -> int:
    """Returns how many of so many blocks stand one after another in the loop's body."""
    if self.unroll:
      return min(self.unroll, blocks)
    return blocks if jax.default_backend() == "gpu" and blocks <= UNROLLED_ON_GPU else 1

  def rematerialized(self) -> str:
    """Returns `remat`, "auto" resolved."""
    if self.remat != "auto":
      return self.remat
    return "elementwise" if jax.default_backend() == "cpu" else "none"


def scan_blocks(block: Block, x: jax.Array, stacked: Any, scan: ScanOptions) -> tuple[jax.Array, Any]:
  """Applies the blocks one after another.

  Args:
    block: one of them.
    x: input of the first, of the shape and type of every block's output.
    stacked: variables of all blocks, each leaf [blocks, ...].
    scan: how.

  Returns:
    The last output, and what the blocks returned beside it, each leaf [blocks, ...].
  """
  blocks = len(jax.tree.leaves(stacked)[0])
  # Inside a loop nothing can be merged with the forward pass, and the barriers against that are not needed.
  checkpoint = functools.partial(jax.checkpoint, prevent_cse=scan.unrolled(blocks) == blocks)
  remat = scan.rematerialized()
  if remat == "block":
    block = checkpoint(block)
  if remat == "elementwise":
    block = checkpoint(block, policy=jax.checkpoint_policies.save_only_these_names(CONVOLUTION, STATISTICS))

  def run(x: jax.Array, part: Any) -> tuple[jax.Array, Any]:
    return lax.scan(block, x, part, unroll=scan.unrolled(len(jax.tree.leaves(part)[0])))

  if remat != "group":
    return run(x, stacked)
  size = math.isqrt(blocks)
  whole = blocks // size * size
  grouped = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, size, *leaf.shape[1:]), stacked)
  x, sown = lax.scan(checkpoint(run), x, grouped)
  sown = jax.tree.map(lambda leaf: leaf.reshape(whole, *leaf.shape[2:]), sown)
  if whole == blocks:
    return x, sown
  x, rest = checkpoint(run)(x, jax.tree.map(lambda leaf: leaf[whole:], stacked))
  return x, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), sown, rest)
