"""Conversion between two layouts of a network's variables: separate blocks and stacked blocks.

Separate blocks are `block1`, `block2`, ...; stacked ones are `block1` and `rest`, whose leaves have a leading axis.
Both conversions are exact. They apply to any tree with the structure of the network (parameters, batch statistics,
momentum, responses), with JAX or numpy arrays as leaves.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

Tree = Mapping[str, Any]


def stacked(tree: Tree) -> dict[str, Any]:
  """Returns the stacked layout: the blocks of a stage after the first as `rest`, each leaf [blocks - 1, ...]."""
  return {name: _stack(part) if "block2" in part else part for name, part in tree.items()}


def unstacked(tree: Tree) -> dict[str, Any]:
  """Returns the layout with a separate entry for each block."""
  return {name: _unstack(part) if "rest" in part else part for name, part in tree.items()}


def _stack(stage: Tree) -> dict[str, Any]:
  rest = [stage[f"block{i}"] for i in range(2, len(stage) + 1)]
  return {"block1": stage["block1"], "rest": jax.tree.map(lambda *leaves: jnp.stack(leaves), *rest)}


def _unstack(stage: Tree) -> dict[str, Any]:
  blocks = len(jax.tree.leaves(stage["rest"])[0])
  rest = {f"block{i + 2}": jax.tree.map(lambda leaf, i=i: leaf[i], stage["rest"]) for i in range(blocks)}
  return {"block1": stage["block1"], **rest}


def digest(params: Tree) -> str:
  """Returns the SHA-256 digest of the names, shapes and float32 bytes in depth order, the same for both layouts."""
  host = unstacked(jax.tree.map(np.asarray, params))
  total = hashlib.sha256()
  for path, leaf in sorted(traverse_util.flatten_dict(host).items(), key=lambda item: _depth_order(item[0])):
    total.update(f"{'/'.join(path)} {leaf.shape} ".encode())
    total.update(np.ascontiguousarray(leaf, dtype="<f4").tobytes())
  return total.hexdigest()


def _depth_order(path: tuple[str, ...]) -> tuple[Any, ...]:
  place = {"stem": 0, "proposals": 2, "head": 2}.get(path[0], 1)
  block = int(path[1].removeprefix("block")) if place == 1 else 0
  return place, path[0], block, path
