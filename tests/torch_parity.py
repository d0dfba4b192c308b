"""Comparisons with PyTorch: conversion of variables, logits of both libraries, and torchvision's ResNets."""

import functools
import importlib.util
import types
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from flax import traverse_util

from resjax import models
from resjax.data.augment import normalize
from resjax.depth import Layer
from resjax.models import layout
from resjax.weights import mapping


def variables(table: list[Layer], state: Mapping[str, torch.Tensor], name: Callable[[str], str]) -> dict:
  """Converts a PyTorch state dict, of which every tensor must be used exactly once.

  Args:
    table: Layers of the network.
    state: State dict.
    name: Function from the name of a layer in `table` to its name in the state dict.

  Returns:
    Variables in the stacked layout.
  """
  unused = {key: value.detach().numpy() for key, value in state.items() if not key.endswith("num_batches_tracked")}
  params, statistics = {}, {}
  for layer in (layer for layer in table if layer.params):
    path, theirs = tuple(layer.name.split("/")), name(layer.name)
    if layer.kind == "conv":
      params[*path, "kernel"] = unused.pop(f"{theirs}.weight").transpose(2, 3, 1, 0)
    elif layer.kind == "dense":
      params[*path, "kernel"] = unused.pop(f"{theirs}.weight").T
      params[*path, "bias"] = unused.pop(f"{theirs}.bias")
    elif layer.kind == "norm":
      params[*path, "scale"], params[*path, "bias"] = unused.pop(f"{theirs}.weight"), unused.pop(f"{theirs}.bias")
      statistics[*path, "mean"] = unused.pop(f"{theirs}.running_mean")
      statistics[*path, "var"] = unused.pop(f"{theirs}.running_var")
  assert not unused
  trees = {"params": params, "batch_stats": statistics}
  return {name: layout.stacked(traverse_util.unflatten_dict(tree)) for name, tree in trees.items()}


def calibrate_norms(net: torch.nn.Module, images: torch.Tensor) -> None:
  """Gives all batch norms random scales and shifts, and the statistics of a batch as running statistics."""
  torch.manual_seed(0)
  norms = [module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)]
  for norm in norms:
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    torch.nn.init.normal_(norm.bias, 0, 0.3)
    norm.momentum = 1.0  # the running statistics become those of the next batch
  with torch.no_grad():
    net.train()(images)
  net.eval()


@functools.cache
def torchvision_resnets() -> types.ModuleType:
  """Returns torchvision's module of ResNets, or skips the test if torchvision is not installed.

  If torchvision was built for another version of PyTorch, its compiled operators cannot be loaded and importing it
  fails. ResNets do not use these operators, so they are then declared without an implementation.
  """
  spec = importlib.util.find_spec("torchvision")
  if not spec or not spec.origin:
    pytest.skip("torchvision is not installed")
  try:
    for library in Path(spec.origin).parent.glob("_C*.so"):  # called _C_stable in newer versions
      torch.ops.load_library(library)
  except OSError:
    for name in ("nms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d"):
      for operator in (name, f"q{name}", f"_{name}_backward"):
        torch.library.define(f"torchvision::{operator}", "(Tensor x) -> Tensor")
  from torchvision.models import resnet

  return resnet


def relative_distance(ours: np.ndarray, theirs: torch.Tensor) -> float:
  """Returns the norm of the difference divided by the norm of `theirs`."""
  other = theirs.detach().numpy()
  return float(np.linalg.norm(np.asarray(ours) - other) / np.linalg.norm(other))


def logits(weights: mapping.Weights, images: np.ndarray) -> jax.Array:
  """Returns the logits of imported weights for images, uint8 [batch, height, width, 3]."""
  stacked = {name: layout.stacked(tree) for name, tree in weights.variables.items()}
  net = models.build(weights.model, weights.classes)
  return jax.jit(lambda v, x: net.apply(v, normalize(x, weights.statistics), train=False))(stacked, images)


def torch_logits(net, images: np.ndarray, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)) -> torch.Tensor:
  """Returns the logits of a PyTorch network for images, uint8 [batch, height, width, 3], after normalization."""
  x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).float() / 255
  with torch.no_grad():
    return net((x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None])
