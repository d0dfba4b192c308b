"""ImageNet nets of Hugging Face's transformers: its ResNet, with config.json beside the weights."""

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
# What `transformers` has where config.json does not say it, and what nets here can be.
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
EXPANSION = {"basic": 1, "bottleneck": 4}  # what a stage's last layers have more filters than its first


def weights_file(path: Path) -> Path:
  """Returns the file of the weights: `path`, or the one in it if it is a folder.

  Raises:
    ConfigError: a folder has none.
  """
  if not path.is_dir():
    return path
  for name in FILES:
    if (path / name).is_file():
      return path / name
  raise ConfigError(f"{path}: holds neither {' nor '.join(FILES)}")


@dataclasses.dataclass(frozen=True)
class Description:
  """What the files beside the weights say of a net.

  Attributes:
    blocks: a stage.
    block: "basic" or "bottleneck".
    width: filters of the first stage.
    stride: which layer of a bottleneck has stride 2, `model.bottleneck_stride`.
    data: how images are normalised.
  """

  blocks: tuple[int, ...]
  block: str
  width: int
  stride: str
  data: Data


def describe(folder: Path) -> Description:
  """Reads config.json and, if it is there, preprocessor_config.json.

  Raises:
    ConfigError: config.json is missing, or of another net; a file cannot be read.
  """
  path = folder / CONFIG
  there = _json(path)
  if there is None:
    raise ConfigError(f"{path}: missing; it says what net the weights are of")
  if there.get("model_type") != "resnet":
    raise ConfigError(f"{path}: model_type is {there.get('model_type')!r}, must be 'resnet'")
  settings = DEFAULTS | there
  for key, allowed in ALLOWED.items():
    if settings[key] not in allowed:
      listed = " or ".join(map(repr, allowed))
      raise ConfigError(f"{path}: {key} is {settings[key]!r}, in the paper's ResNets it is {listed}")
  width, blocks, block = settings["embedding_size"], settings["depths"], settings["layer_type"]
  for key, numbers in (("embedding_size", [width]), ("depths", blocks)):
    if not isinstance(numbers, list) or not all(type(number) is int and number > 0 for number in numbers):
      raise ConfigError(f"{path}: {key} is {settings[key]!r}, must be positive and whole")
  wanted = [width * 2**stage * EXPANSION[block] for stage in range(len(blocks))]
  if settings["hidden_sizes"] != wanted:
    raise ConfigError(f"{path}: hidden_sizes is {settings['hidden_sizes']}, in the paper's ResNets it is {wanted}")
  first = settings["downsample_in_bottleneck"] and block == "bottleneck"
  return Description(tuple(blocks), block, width, "1x1" if first else "3x3", _data(folder))


def read(arrays: Mapping[str, np.ndarray], net: Description) -> Weights:
  """Returns the net of a state dict.

  Raises:
    ConfigError: an array is missing, left over or wrong.
  """
  if f"{HEAD}.weight" not in arrays:
    raise ConfigError(f"has no {HEAD}.weight: a ResNet without its last layer, or another net")
  found = pytorch.Structure(net.blocks, net.block, "B", len(arrays[f"{HEAD}.weight"]))
  model = torchvision.imagenet(found, net.width, net.stride, pool_padding="symmetric")
  image_shape = (torchvision.SIDE, torchvision.SIDE, 3)
  variables, mapped = mapping.read(mapping.shapes(model, found.classes, image_shape), arrays, name, pytorch.is_counter)
  return Weights(model, net.data, image_shape, found.classes, given(net.data), variables, mapped)


def name(module: str, leaf: str) -> str:
  """Returns the name of a leaf ("kernel") of one of our modules ("stage1/block2/conv1")."""
  return f"{_module(module)}.{pytorch.LEAVES[leaf]}"


def _module(path: str) -> str:
  stem = "resnet.embedder.embedder"
  outside = {"stem/conv": f"{stem}.convolution", "stem/norm": f"{stem}.normalization", "head/dense": HEAD}
  if path in outside:
    return outside[path]
  match = re.fullmatch(r"stage(\d+)/block(\d+)/(projection|conv|norm|projection_norm)(\d?)", path)
  if not match:
    raise ConfigError(f"{path}: a layer that these nets have not")
  kind = "normalization" if "norm" in match[3] else "convolution"
  layer = f"layer.{int(match[4]) - 1}" if match[4] else "shortcut"
  return f"resnet.encoder.stages.{int(match[1]) - 1}.layers.{int(match[2]) - 1}.{layer}.{kind}"


def _data(folder: Path) -> Data:
  """Returns how images are normalised: as for torchvision's nets unless a file beside the weights says otherwise."""
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
  """Returns the object in a file, or None if there is no file."""
  try:
    found = json.loads(path.read_text())
  except FileNotFoundError:
    return None
  except (OSError, ValueError) as error:
    raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
  if not isinstance(found, dict):
    raise ConfigError(f"{path}: holds no object")
  return found
