"""Scan over the equal blocks of a stage, so that the size of the program does not grow with depth.

The variables of the blocks are stacked along a leading axis, however the scan is executed.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

# On a GPU the body of a loop is a separate CUDA graph, and each slice of the stacked variables is a kernel. Unrolled,
# a whole step is one graph. Up to the 18 blocks a stage of 110 layers, the gain in speed outweighs the compile time.
UNROLLED_ON_GPU = 18

CONVOLUTION, STATISTICS = "convolution", "statistics"  # checkpoint names of the arrays that remat="elementwise" keeps
BlockFunction = Callable[[jax.Array, Any], tuple[jax.Array, Any]]  # (input, variables) -> (output, changed variables)


@dataclasses.dataclass(frozen=True)
class ScanOptions:
  """How the scan over blocks is executed: affects memory, compile time and speed, and results only by rounding.

  Attributes:
    unroll: Blocks per iteration of the loop; with at least the number of blocks there is no loop. 0: on a GPU no loop
      over up to `UNROLLED_ON_GPU` blocks, otherwise 1.
    remat: What the backward pass recomputes. "none": nothing. "elementwise": norms, activations and additions; the
      outputs of convolutions and the statistics of norms are kept. "block": everything inside a block; the inputs of
      blocks are kept. "group": everything inside each of sqrt(blocks) groups of blocks, one group at a time, so that
      memory grows with the square root of depth (Chen et al., 2016, "sublinear memory cost"). "auto": "elementwise" on
      a CPU, where arrays that a loop keeps are copied once more, else "none".
  """

  unroll: int = 0
  remat: str = "auto"

  def unrolled(self, blocks: int) -> int:
    """Returns the number of blocks per iteration for a scan over `blocks` blocks."""
    if self.unroll:
      return min(self.unroll, blocks)
    return blocks if jax.default_backend() == "gpu" and blocks <= UNROLLED_ON_GPU else 1

  def rematerialized(self) -> str:
    """Returns `remat` with "auto" resolved for the default backend."""
    if self.remat != "auto":
      return self.remat
    return "elementwise" if jax.default_backend() == "cpu" else "none"


def scan_blocks(block: BlockFunction, x: jax.Array, stacked: Any, scan: ScanOptions) -> tuple[jax.Array, Any]:
  """Applies the blocks of a stage one after another.

  Args:
    block: Function that applies one block to its input and its variables.
    x: Input of the first block; every block's output has its shape and dtype.
    stacked: Variables of all blocks, each leaf [blocks, ...].
    scan: How the scan is executed.

  Returns:
    Output of the last block, and the changed variables of all blocks, each leaf [blocks, ...].
  """
  blocks = len(jax.tree.leaves(stacked)[0])
  # `prevent_cse` keeps XLA from merging the recomputation with the forward pass, which inside a loop it cannot do.
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
