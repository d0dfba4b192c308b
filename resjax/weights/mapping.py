"""Conversion of arrays between another project's names and the variables of a network, with a check of each array."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from resjax import models
from resjax.config import Data, Model
from resjax.data.augment import Statistics
from resjax.models import layout
from resjax.settings import ConfigError

COLLECTIONS = ("params", "batch_stats")
NAMED = 5  # maximum number of names in an error message
Arrays = Mapping[str, np.ndarray]
Rename = Callable[[str, str], str]


@dataclasses.dataclass(frozen=True)
class Weights:
  """A network trained by another project.

  Attributes:
    model: Settings of the network.
    data: Settings of the data set, as far as the project specifies it, and of the normalization of images.
    image_shape: Height, width and channels of the training images.
    classes: Number of classes, the width of the last layer.
    statistics: Statistics by which images are normalized.
    variables: Collections `params` and `batch_stats` with separate blocks, numpy float32.
    mapped: Name in resjax of each module, by the project's name.
  """

  model: Model
  data: Data
  image_shape: tuple[int, int, int]
  classes: int
  statistics: Statistics
  variables: dict[str, Any]
  mapped: dict[str, str]


def shapes(model: Model, classes: int, image_shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
  """Returns the shape of every variable of a network by its path, such as "params/stage1/block1/conv1/kernel"."""
  net = models.build(model, classes)

  def initial() -> dict[str, Any]:
    variables = net.init(jax.random.key(0), jnp.zeros((1, *image_shape)), train=False)
    return {name: layout.unstacked(variables[name]) for name in COLLECTIONS}

  abstract = traverse_util.flatten_dict(jax.eval_shape(initial), sep="/")
  return {path: leaf.shape for path, leaf in abstract.items()}


def read(
  wanted: Mapping[str, tuple[int, ...]], arrays: Arrays, rename: Rename, ignored: Callable[[str], bool]
) -> tuple[dict[str, Any], dict[str, str]]:
  """Converts the arrays of another project to the variables of a network.

  Kernels are transposed from [out, in, height, width] and [out, in] to [height, width, in, out] and [in, out].

  Args:
    wanted: Shape of each variable, see `shapes`.
    arrays: Arrays by the project's names.
    rename: Function that returns the project's name of a module of resjax ("stage1/block1/conv1") and its leaf
      ("kernel").
    ignored: Function that returns whether an array with this name is ignored.

  Returns:
    Variables with separate blocks, and the name in resjax of each module by the project's name.

  Raises:
    ConfigError: Arrays are missing, unexpected, of another shape, not floating-point or not finite; the message names
      the first ones.
  """
  found: dict[str, np.ndarray] = {}
  mapped: dict[str, str] = {}
  missing, wrong, used = [], [], set()
  for path, shape in wanted.items():
    module, leaf = _parts(path)
    name = rename(module, leaf)
    if name not in arrays:
      missing.append(name)
      continue
    used.add(name)
    mapped.setdefault(name.rpartition(".")[0], module)
    theirs = arrays[name]
    if theirs.shape != _torch_shape(shape):
      wrong.append(f"{name} is {list(theirs.shape)}, must be {list(_torch_shape(shape))}")
    elif theirs.dtype.kind in "biuc":
      wrong.append(f"{name} has the dtype {theirs.dtype}, must be floating-point")
    elif not np.isfinite(theirs).all():
      wrong.append(f"{name} is not finite")
    else:
      found[path] = np.ascontiguousarray(to_resjax_axes(theirs), dtype=np.float32)
  left = [name for name in arrays if name not in used and not ignored(name)]
  faults = {"missing": missing, "unexpected": left, "wrong": wrong}
  if any(faults.values()):
    raise ConfigError("; ".join(f"{what}: {_listed(names)}" for what, names in faults.items() if names))
  return traverse_util.unflatten_dict(found, sep="/"), mapped


def _listed(names: list[str]) -> str:
  """Returns the first names, and the number of further ones."""
  more = len(names) - NAMED
  return ", ".join(sorted(names)[:NAMED]) + (f" and {more} more" if more > 0 else "")


def export(variables: Mapping[str, Any], rename: Rename) -> dict[str, np.ndarray]:
  """Returns the arrays of a network with separate blocks under another project's names and in PyTorch's axis order."""
  flat = traverse_util.flatten_dict(dict(variables), sep="/")
  return {rename(*_parts(path)): np.ascontiguousarray(_to_torch_axes(np.asarray(leaf))) for path, leaf in flat.items()}


def to_resjax_axes(array: np.ndarray) -> np.ndarray:
  """Returns an array with PyTorch's axis order in that of resjax: kernels are transposed, other arrays unchanged."""
  return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def _to_torch_axes(array: np.ndarray) -> np.ndarray:
  return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
  return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]


def _parts(path: str) -> tuple[str, str]:
  """Returns module and leaf of a path: "stem/conv" and "kernel" of "params/stem/conv/kernel"."""
  module, _, leaf = path.partition("/")[2].rpartition("/")
  return module, leaf
