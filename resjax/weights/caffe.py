"""ImageNet networks released by the authors of the paper, for Caffe.

The first 1x1 layer of a bottleneck has stride 2 (v1), and max pooling is padded at the end. The networks take pixels of
0 to 255 in the order blue, green, red, minus a mean; the first kernel is converted to the order red, green, blue. A
norm consists of two layers: BatchNorm, which stores sums and the number to divide them by, and Scale.
"""

import re
from collections.abc import Mapping

import numpy as np

from resjax.config import Data
from resjax.data.augment import Statistics
from resjax.settings import ConfigError
from resjax.weights import mapping, pytorch, torchvision
from resjax.weights.caffe_files import Layer
from resjax.weights.mapping import Weights

MEAN = (123.68, 116.779, 103.939)  # of ImageNet's pixels, red, green, blue, as distributed with Caffe's networks
HEAD = "fc1000"
BRANCHES = {"projection": "1", "conv1": "2a", "conv2": "2b", "conv3": "2c"}


def read(layers: Mapping[str, Layer], mean: np.ndarray | None) -> Weights:
  """Converts the network of a .caffemodel.

  Args:
    layers: Layers returned by `caffe_files.read`.
    mean: Mean image, 0 to 255, float [H, W, 3] in the order red, green, blue; None for `MEAN`.

  Raises:
    ConfigError: The file is of another architecture, or an array is missing, unexpected or invalid.
  """
  arrays = with_torch_names(layers)
  units = _units(arrays)
  found = pytorch.Structure(
    blocks=tuple(len(stage) for stage in units),
    block="bottleneck" if f"res{units[0][0]}_branch2c.weight" in arrays else "basic",
    shortcut=_shortcut(arrays, units),
    classes=len(arrays[f"{HEAD}.weight"]),
  )
  model = torchvision.imagenet(found, len(arrays["conv1.weight"]), stride="1x1", pool_padding="behind")

  def rename(module: str, leaf: str) -> str:
    return f"{_layer(module, leaf, units)}.{pytorch.LEAVES[leaf]}"

  image_shape = (torchvision.SIDE, torchvision.SIDE, 3)
  if mean is not None and mean.shape != image_shape:
    raise ConfigError(f"the mean image is {list(mean.shape)}, must be {list(image_shape)}")
  wanted = mapping.shapes(model, found.classes, image_shape)
  variables, mapped = mapping.read(wanted, arrays, rename, lambda _: False)
  pixel = 1 / 255
  channels = MEAN if mean is None else tuple(float(value) for value in mean.mean((0, 1)))
  data = Data(
    name="folder", normalize="given", mean=tuple(value * pixel for value in channels), std=(pixel, pixel, pixel)
  )
  image = np.array(data.mean, np.float32) if mean is None else mean.astype(np.float32) / 255
  return Weights(
    model, data, image_shape, found.classes, Statistics(image, np.full(3, pixel, np.float32)), variables, mapped
  )


def with_torch_names(layers: Mapping[str, Layer]) -> dict[str, np.ndarray]:
  """Returns the arrays of all layers under PyTorch's names: "<layer>.weight", "bias", "running_mean", "running_var".

  Mean and variance of a BatchNorm are divided by its stored number. The bias of a convolution before a norm, which the
  first layer of the 50-layer network has, is subtracted from the running mean of the norm, which is equivalent.

  Raises:
    ConfigError: A layer has an unknown type or the wrong number of arrays.
  """
  arrays: dict[str, np.ndarray] = {}
  for name, (kind, blobs) in layers.items():
    counts = {"Convolution": (1, 2), "InnerProduct": (2,), "BatchNorm": (3,), "Scale": (2,)}
    if kind not in counts or len(blobs) not in counts[kind]:
      raise ConfigError(f"layer {name} of type {kind or 'unknown'} with {len(blobs)} arrays is not supported")
    if kind == "BatchNorm":
      mean, var, count = (blob.reshape(-1) for blob in blobs)
      factor = 1 / count[0] if count.size == 1 and count[0] else 0
      arrays[f"{name}.running_mean"], arrays[f"{name}.running_var"] = mean * factor, var * factor
    else:
      weight, *bias = blobs
      flat = {"Scale": (-1,), "InnerProduct": weight.shape[-2:]}.get(kind, weight.shape)
      arrays[f"{name}.weight"] = weight.reshape(flat)
      arrays.update({f"{name}.bias": blob.reshape(-1) for blob in bias})
  for name, (kind, _) in layers.items():
    norm = f"{_norm_layer(name)}.running_mean"
    if kind == "Convolution" and f"{name}.bias" in arrays and norm in arrays:
      arrays[norm] = arrays[norm] - arrays.pop(f"{name}.bias")
  for needed in ("conv1.weight", f"{HEAD}.weight"):
    if needed not in arrays:
      first = ", ".join(list(layers)[:3])
      raise ConfigError(f"has no layer {needed.removesuffix('.weight')}; its first layers are {first}")
  arrays["conv1.weight"] = arrays["conv1.weight"][:, ::-1]
  return arrays


def _units(arrays: Mapping[str, np.ndarray]) -> list[list[str]]:
  """Returns the names of the blocks of each stage in order: 2a, 2b, 2c, or in long stages 3a, 3b1, 3b2, ..."""
  found: dict[int, set[tuple[str, int]]] = {}
  for name in arrays:
    if match := re.match(r"res(\d)([a-z])(\d*)_", name):
      found.setdefault(int(match[1]), set()).add((match[2], int(match[3] or 0)))
  if sorted(found) != list(range(2, len(found) + 2)):
    raise ConfigError(
      "has no blocks (res2a_branch2a, ...)" if not found else f"has stages {sorted(found)}, must be consecutive from 2"
    )
  return [[f"{stage}{letter}{number or ''}" for letter, number in sorted(found[stage])] for stage in sorted(found)]


def _shortcut(arrays: Mapping[str, np.ndarray], units: list[list[str]]) -> str | None:
  projecting = [f"res{unit}_branch1.weight" in arrays for stage in units for unit in stage]
  return None if not any(projecting) else "C" if all(projecting) else "B"


def _layer(module: str, leaf: str, units: list[list[str]]) -> str:
  """Returns the Caffe layer that contains a leaf, such as "kernel", of a module of resjax."""
  if module == "head/dense":
    return HEAD
  if module.startswith("stem/"):
    conv = "conv1"
  else:
    stage, block, inside = re.fullmatch(r"stage(\d+)/block(\d+)/(\w+)", module).groups()  # type: ignore[union-attr]
    branch = BRANCHES[inside.removesuffix("_norm").replace("norm", "conv")]
    conv = f"res{units[int(stage) - 1][int(block) - 1]}_branch{branch}"
  if leaf == "kernel":
    return conv
  return _norm_layer(conv) if leaf in ("mean", "var") else _norm_layer(conv).replace("bn", "scale", 1)


def _norm_layer(conv: str) -> str:
  """Returns the name of the BatchNorm layer after a convolution."""
  return f"bn_{conv}" if conv == "conv1" else conv.replace("res", "bn", 1)
