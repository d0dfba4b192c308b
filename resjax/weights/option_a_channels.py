"""Permutation of channels that moves the zero channels of option-A shortcuts from the end to both sides."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util


def zeros_on_both_sides(variables: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the variables of an equivalent network whose option-A shortcuts add half of the zero channels on each side.

  With zeros at the end, the first channels of a stage are those of the previous stage; here they become the middle
  ones. The channels of inputs and outputs of blocks are permuted, those inside blocks are not.

  Args:
    variables: Variables, with separate blocks and numpy arrays, of a network whose shortcuts add zeros at the end
      (`model.option_a_zeros` "end").
  """
  flat = traverse_util.flatten_dict(dict(variables))
  params = variables["params"]
  stages = sorted(name for name in params if name.startswith("stage"))
  order = np.arange(params["stem"]["conv"]["kernel"].shape[-1])
  for stage in stages:
    for block in sorted(params[stage], key=lambda name: int(name.removeprefix("block"))):
      last = max(int(name.removeprefix("conv")) for name in params[stage][block] if name.startswith("conv"))
      _take(flat, ("params", stage, block, "conv1", "kernel"), order, axis=2)
      order = _extend_order(order, params[stage][block][f"conv{last}"]["kernel"].shape[-1])
      _take(flat, ("params", stage, block, f"conv{last}", "kernel"), order, axis=3)
      for path in [path for path in flat if path[1:4] == (stage, block, f"norm{last}")]:
        _take(flat, path, order, axis=0)
  _take(flat, ("params", "head", "dense", "kernel"), order, axis=0)
  return traverse_util.unflatten_dict(flat)


def _take(flat: dict[tuple[str, ...], np.ndarray], path: tuple[str, ...], order: np.ndarray, axis: int) -> None:
  flat[path] = flat[path].take(order, axis)


def _extend_order(order: np.ndarray, channels: int) -> np.ndarray:
  """Returns the order of the channels after a block with `channels` outputs, unchanged if there are no new channels."""
  old, before = len(order), (channels - len(order)) // 2
  return np.concatenate([np.arange(old, old + before), order, np.arange(old + before, channels)])
