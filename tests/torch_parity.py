"""What the comparisons with PyTorch share: our variables made of a PyTorch net's, and torchvision's ResNets."""

import functools
import importlib.util
import types
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from flax import traverse_util

from resjax.depth import Layer
from resjax.models import layout


def variables(table: list[Layer], state: Mapping[str, torch.Tensor], name: Callable[[str], str]) -> dict:
  """Returns the stacked variables of the net with this layer table, from a PyTorch state under names `name` gives.

  Every tensor of the state is taken, once.
  """
  left = {key: value.detach().numpy() for key, value in state.items() if not key.endswith("num_batches_tracked")}
  params, statistics = {}, {}
  for layer in (layer for layer in table if layer.params):
    path, theirs = tuple(layer.name.split("/")), name(layer.name)
    if layer.kind == "conv":
      params[*path, "kernel"] = left.pop(f"{theirs}.weight").transpose(2, 3, 1, 0)
    elif layer.kind == "dense":
      params[*path, "kernel"] = left.pop(f"{theirs}.weight").T
      params[*path, "bias"] = left.pop(f"{theirs}.bias")
    elif layer.kind == "norm":
      params[*path, "scale"], params[*path, "bias"] = left.pop(f"{theirs}.weight"), left.pop(f"{theirs}.bias")
      statistics[*path, "mean"] = left.pop(f"{theirs}.running_mean")
      statistics[*path, "var"] = left.pop(f"{theirs}.running_var")
  assert not left
  trees = {"params": params, "batch_stats": statistics}
  return {name: layout.stacked(traverse_util.unflatten_dict(tree)) for name, tree in trees.items()}


def randomize(net: torch.nn.Module, images: torch.Tensor) -> None:
  """Gives all norms random scales and shifts, and running statistics under which signals neither grow nor vanish."""
  torch.manual_seed(0)
  norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
  for norm in norms:
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    torch.nn.init.normal_(norm.bias, 0, 0.3)
    norm.momentum = 1.0  # the next batch's statistics are the running ones
  with torch.no_grad():
    net.train()(images)
  net.eval()


@functools.cache
def torchvision_resnets() -> types.ModuleType:
  """Returns torchvision's module of ResNets; skips the tests that ask where there is none.

  Where torchvision was built for another PyTorch than is there, say for GPUs, its compiled operators do not load and it
  does not let itself be imported. No ResNet uses one, so then they are declared without an implementation.
  """
  spec = importlib.util.find_spec("torchvision")
  if not spec or not spec.origin:
    pytest.skip("torchvision is not installed")
  try:
    for library in Path(spec.origin).parent.glob("_C*.so"):  # newer releases call it _C_stable
      torch.ops.load_library(library)
  except OSError:
    for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"):
      for operator in (name, f"q{name}", f"_{name}_backward"):
        torch.library.define(f"torchvision::{operator}", "(Tensor x) -> Tensor")
  from torchvision.models import resnet

  return resnet


def relative_distance(ours: np.ndarray, theirs: torch.Tensor) -> float:
  """Returns the norm of the difference as a share of the norm."""
  other = theirs.detach().numpy()
  return float(np.linalg.norm(np.asarray(ours) - other) / np.linalg.norm(other))
