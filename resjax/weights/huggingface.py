"""ImageNet ResNets of Hugging Face's transformers, described by a config.json next to the weights."""

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resjax.config import Data
from resjax.data.augment import given
from resjax.settings import ConfigError
from resjax.weights import mapping, pytorch, torchvision
from resjax.weights.mapping import Weights

FILES = ("model.safetensors", "pytorch_model.bin")
CONFIG, PREPROCESSOR = "config.json", "preprocessor_config.json"
HEAD = "classifier.1"
# Defaults of `transformers` for keys that config.json lacks, and values that networks here support.
DEFAULTS: dict[str, Any] = {
  "num_channels": 3,
  "embedding_size": 64,
  "hidden_sizes": [256, 512, 1024, 2048],
  "depths": [3, 4, 6, 3],
  "layer_type": "bottleneck",
  "hidden_act": "relu",
  "downsample_in_first_stage": False,
  "downsample_in_bottleneck": False,
}
ALLOWED: dict[str, tuple[Any, ...]] = {
  "num_channels": (3,),
  "layer_type": ("basic", "bottleneck"),
  "hidden_act": ("relu",),
  "downsample_in_first_stage": (False,),
  "downsample_in_bottleneck": (False, True),
}
EXPANSION = {"basic": 1, "bottleneck": 4}  # ratio of the output channels of a block to its width


def weights_file(path: Path) -> Path:
  """Returns the path of the weights: `path` itself, or the file in it if it is a folder.

  Raises:
    ConfigError: The folder does not contain a file of weights.
  """
  if not path.is_dir():
    return path
  for name in FILES:
    if (path / name).is_file():
      return path / name
  raise ConfigError(f"{path}: contains neither {' nor '.join(FILES)}")


@dataclasses.dataclass(frozen=True)
class Description:
  """Description of a network by the files next to its weights.

  Attributes:
    blocks: Number of blocks of each stage.
    block: "basic" or "bottleneck".
    width: Filters of the first stage.
    stride: Layer of a bottleneck block that has stride 2, `model.bottleneck_stride`.
    data: Settings of the data set, with the statistics by which images are normalized.
  """

  blocks: tuple[int, ...]
  block: str
  width: int
  stride: str
  data: Data


def describe(folder: Path) -> Description:
  """Reads config.json and, if it exists, preprocessor_config.json.

  Raises:
    ConfigError: config.json is missing or describes another architecture, or a file cannot be read.
  """
  path = folder / CONFIG
  values = _json(path)
  if values is None:
    raise ConfigError(f"{path}: missing; it is needed to describe the network")
  if values.get("model_type") != "resnet":
    raise ConfigError(f"{path}: model_type is {values.get('model_type')!r}, must be 'resnet'")
  settings = DEFAULTS | values
  for key, allowed in ALLOWED.items():
    if settings[key] not in allowed:
      listed = " or ".join(map(repr, allowed))
      raise ConfigError(f"{path}: {key} is {settings[key]!r}, must be {listed} as in the paper's ResNets")
  width, blocks, block = settings["embedding_size"], settings["depths"], settings["layer_type"]
  for key, numbers in (("embedding_size", [width]), ("depths", blocks)):
    if not isinstance(numbers, list) or not all(type(number) is int and number > 0 for number in numbers):
      raise ConfigError(f"{path}: {key} is {settings[key]!r}, must be positive integers")
  wanted = [width * 2**stage * EXPANSION[block] for stage in range(len(blocks))]
  if settings["hidden_sizes"] != wanted:
    raise ConfigError(f"{path}: hidden_sizes is {settings['hidden_sizes']}, must be {wanted} as in the paper's ResNets")
  first = settings["downsample_in_bottleneck"] and block == "bottleneck"
  return Description(tuple(blocks), block, width, "1x1" if first else "3x3", _data(folder))


def read(arrays: Mapping[str, np.ndarray], net: Description) -> Weights:
  """Converts the state dict of a network.

  Args:
    arrays: Arrays of the state dict by name.
    net: Description of the network.

  Raises:
    ConfigError: An array is missing, unexpected or invalid.
  """
  if f"{HEAD}.weight" not in arrays:
    raise ConfigError(f"has no {HEAD}.weight: a ResNet without its last layer, or another architecture")
  found = pytorch.Structure(net.blocks, net.block, "B", len(arrays[f"{HEAD}.weight"]))
  model = torchvision.imagenet(found, net.width, net.stride, pool_padding="symmetric")
  image_shape = (torchvision.SIDE, torchvision.SIDE, 3)
  variables, mapped = mapping.read(mapping.shapes(model, found.classes, image_shape), arrays, name, pytorch.is_counter)
  return Weights(model, net.data, image_shape, found.classes, given(net.data), variables, mapped)


def name(module: str, leaf: str) -> str:
  """Returns the name of a leaf, such as "kernel", of a module of resjax, such as "stage1/block2/conv1"."""
  return f"{_module(module)}.{pytorch.LEAVES[leaf]}"


def _module(path: str) -> str:
  stem = "resnet.embedder.embedder"
  outside = {"stem/conv": f"{stem}.convolution", "stem/norm": f"{stem}.normalization", "head/dense": HEAD}
  if path in outside:
    return outside[path]
  match = re.fullmatch(r"stage(\d+)/block(\d+)/(projection|conv|norm|projection_norm)(\d?)", path)
  if not match:
    raise ConfigError(f"{path}: these networks have no such layer")
  kind = "normalization" if "norm" in match[3] else "convolution"
  layer = f"layer.{int(match[4]) - 1}" if match[4] else "shortcut"
  return f"resnet.encoder.stages.{int(match[1]) - 1}.layers.{int(match[2]) - 1}.{layer}.{kind}"


def _data(folder: Path) -> Data:
  """Returns the settings of the data set, with the statistics in preprocessor_config.json or else torchvision's."""
  path = folder / PREPROCESSOR
  found = _json(path) or {}
  if not {"image_mean", "image_std"} <= set(found):
    return torchvision.DATA
  try:
    mean, std = (tuple(map(float, found[key])) for key in ("image_mean", "image_std"))
  except (TypeError, ValueError):
    raise ConfigError(f"{path}: image_mean and image_std must be lists of numbers") from None
  return dataclasses.replace(torchvision.DATA, mean=mean, std=std)


def _json(path: Path) -> dict[str, Any] | None:
  """Returns the JSON object in a file, or None if the file does not exist."""
  try:
    found = json.loads(path.read_text())
  except FileNotFoundError:
    return None
  except (OSError, ValueError) as error:
    raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
  if not isinstance(found, dict):
    raise ConfigError(f"{path}: contains no JSON object")
  return found
