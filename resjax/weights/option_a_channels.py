"""Option A's zeros moved: channels of a net relabelled, so that it computes the same with zeros on both sides."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util


def zeros_on_both_sides(variables: Mapping[str, Any]) -> dict[str, Any]:
  """Returns an equivalent net whose option-A shortcuts add half of the zeros on each side of the channels.

  Where zeros are added behind, a stage's first channels are those of the stage before it; here they become the middle
  ones. What writes into the shortcuts' stream and what reads from it is relabelled, the inside of blocks is not.

  Args:
    variables: of a net whose shortcuts add zeros behind (`model.option_a_zeros` "end"), unstacked, numpy.
  """
  flat = traverse_util.flatten_dict(dict(variables))
  params = variables["params"]
  stages = sorted(name for name in params if name.startswith("stage"))
  order = np.arange(params["stem"]["conv"]["kernel"].shape[-1])
  for stage in stages:
    for block in sorted(params[stage], key=lambda name: int(name.removeprefix("block"))):
      last = max(int(name.removeprefix("conv")) for name in params[stage][block] if name.startswith("conv"))
      _take(flat, ("params", stage, block, "conv1", "kernel"), order, axis=2)
      order = _widened(order, params[stage][block][f"conv{last}"]["kernel"].shape[-1])
      _take(flat, ("params", stage, block, f"conv{last}", "kernel"), order, axis=3)
      for path in [path for path in flat if path[1:4] == (stage, block, f"norm{last}")]:
        _take(flat, path, order, axis=0)
  _take(flat, ("params", "head", "dense", "kernel"), order, axis=0)
  return traverse_util.unflatten_dict(flat)


def _take(flat: dict[tuple[str, ...], np.ndarray], path: tuple[str, ...], order: np.ndarray, axis: int) -> None:
  flat[path] = flat[path].take(order, axis)


def _widened(order: np.ndarray, channels: int) -> np.ndarray:
  """Returns the order of a wider stream; of one as wide, the same."""
  old, before = len(order), (channels - len(order)) // 2
  return np.concatenate([np.arange(old, old + before), order, np.arange(old + before, channels)])
