"""Parameter names common to PyTorch's ResNets: layer1.0.conv1.weight, layer1.0.bn1.running_mean, ..."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from resjax.depth.structure import LAYERS_PER_BLOCK
from resjax.settings import ConfigError
from resjax.weights import architectures

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
HUGGING_FACE = "resnet.embedder."
COUNTER = "num_batches_tracked"  # number of batches that a norm has seen, which the outputs do not depend on


@dataclasses.dataclass(frozen=True)
class Names:
  """Names that differ between projects.

  Attributes:
    projection: Name of the projection of a block.
    head: Name of the last layer.
  """

  projection: str
  head: str

  def array(self, module: str, leaf: str) -> str:
    """Returns the name of a leaf, such as "kernel", of a module of resjax, such as "stage1/block2/conv1"."""
    return f"{self.module(module)}.{LEAVES[leaf]}"

  def module(self, path: str) -> str:
    """Returns the project's name of a module of resjax."""
    outside = {"stem/conv": "conv1", "stem/norm": "bn1", "head/dense": self.head}
    if path in outside:
      return outside[path]
    match = re.fullmatch(r"stage(\d+)/block(\d+)/(.+)", path)
    if not match:
      raise ConfigError(f"{path}: these networks have no such layer")
    inside = {"projection": f"{self.projection}.0", "projection_norm": f"{self.projection}.1"}
    name = inside.get(match[3]) or match[3].replace("norm", "bn")
    return f"layer{match[1]}.{int(match[2]) - 1}.{name}"


@dataclasses.dataclass(frozen=True)
class Structure:
  """Structure of a network, derived from the names of its state dict.

  Attributes:
    blocks: Number of blocks of each stage.
    block: "basic" or "bottleneck".
    shortcut: "B" or "C", or None if there are no projections.
    classes: Number of classes, the width of the last layer.
  """

  blocks: tuple[int, ...]
  block: str
  shortcut: str | None
  classes: int

  @property
  def depth(self) -> int:
    """Number of weighted layers."""
    return sum(self.blocks) * LAYERS_PER_BLOCK[self.block] + 2

  def __str__(self) -> str:
    return f"{', '.join(map(str, self.blocks))} {self.block} blocks"


def structure(arrays: Mapping[str, np.ndarray], names: Names) -> Structure:
  """Returns the structure of the network of a state dict.

  Args:
    arrays: Arrays of the state dict by name.
    names: Names of the project.

  Raises:
    ConfigError: The names are not those of a ResNet of the project; the message names the architecture if it is known.
  """
  if other := architectures.other_architecture(arrays):
    raise ConfigError(f"is {other}; supported are the paper's ResNets, of 18 to 152 layers or for CIFAR")
  if any(name.startswith(HUGGING_FACE) for name in arrays):
    raise ConfigError("has the names of Hugging Face's transformers: use --from huggingface")
  blocks: dict[int, set[int]] = {}
  for name in arrays:
    if match := re.match(r"layer(\d+)\.(\d+)\.", name):
      blocks.setdefault(int(match[1]), set()).add(int(match[2]))
  head = f"{names.head}.weight"
  if head not in arrays or not blocks:
    what = f"has no {head}" if blocks else "has no blocks (layer1.0., ...)"
    raise ConfigError(f"{what}; its names are {', '.join(list(arrays)[:3])}, ..., {', '.join(list(arrays)[-2:])}")
  gaps = [
    f"layer{stage}.{min(set(range(max(found))) - found)}" for stage, found in blocks.items() if max(found) >= len(found)
  ]
  gaps += [f"layer{stage}" for stage in range(1, max(blocks)) if stage not in blocks]
  if gaps:
    raise ConfigError(f"has no {gaps[0]}, but has the blocks after it")
  projecting = sum(
    f"layer{stage}.{block}.{names.projection}.0.weight" in arrays for stage, found in blocks.items() for block in found
  )
  everywhere = projecting == sum(map(len, blocks.values()))
  return Structure(
    tuple(len(blocks[stage]) for stage in sorted(blocks)),
    "bottleneck" if "layer1.0.conv3.weight" in arrays else "basic",
    ("C" if everywhere else "B") if projecting else None,
    len(arrays[head]),
  )


def is_counter(name: str) -> bool:
  """Returns whether a name is that of a norm's count of batches."""
  return name.endswith(f".{COUNTER}")


def with_counters(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the arrays with an additional count of batches, 0, for each norm, as PyTorch saves them."""
  var = f".{LEAVES['var']}"
  counters = {name.removesuffix(var): np.int64(0) for name in arrays if name.endswith(var)}
  return {**arrays, **{f"{norm}.{COUNTER}": np.array(zero) for norm, zero in counters.items()}}
