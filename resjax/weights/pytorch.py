"""The names PyTorch's ResNets have in common: layer1.0.conv1.weight, layer1.0.bn1.running_mean, ..."""

import dataclasses
import re
from collections.abc import Mapping

import numpy as np

from resjax.depth.structure import LAYERS_A_BLOCK
from resjax.settings import ConfigError
from resjax.weights import architectures

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
HUGGING_FACE = "resnet.embedder."
COUNTER = "num_batches_tracked"  # PyTorch's norms count batches; nothing depends on it


@dataclasses.dataclass(frozen=True)
class Names:
  """Where projects differ: what they call a block's projection and the last layer."""

  projection: str
  head: str

  def array(self, module: str, leaf: str) -> str:
    """Returns the name of a leaf ("kernel") of one of our modules ("stage1/block2/conv1")."""
    return f"{self.module(module)}.{LEAVES[leaf]}"

  def module(self, path: str) -> str:
    """Returns the name of one of our modules."""
    outside = {"stem/conv": "conv1", "stem/norm": "bn1", "head/dense": self.head}
    if path in outside:
      return outside[path]
    match = re.fullmatch(r"stage(\d+)/block(\d+)/(.+)", path)
    if not match:
      raise ConfigError(f"{path}: a layer that these nets have not")
    inside = {"projection": f"{self.projection}.0", "projection_norm": f"{self.projection}.1"}
    name = inside.get(match[3]) or match[3].replace("norm", "bn")
    return f"layer{match[1]}.{int(match[2]) - 1}.{name}"


@dataclasses.dataclass(frozen=True)
class Structure:
  """What the names of a state dict say of its net.

  Attributes:
    blocks: a stage.
    block: "basic" or "bottleneck".
    shortcut: "B", "C", or None without projections.
    classes: width of the last layer.
  """

  blocks: tuple[int, ...]
  block: str
  shortcut: str | None
  classes: int

  @property
  def depth(self) -> int:
    """Weighted layers."""
    return sum(self.blocks) * LAYERS_A_BLOCK[self.block] + 2

  def __str__(self) -> str:
    return f"{', '.join(map(str, self.blocks))} {self.block} blocks"


def structure(arrays: Mapping[str, np.ndarray], names: Names) -> Structure:
  """Returns the structure of a net.

  Raises:
    ConfigError: the names are not those of a ResNet of the project; says of which net they are, where that is known.
  """
  if other := architectures.other(arrays):
    raise ConfigError(f"is {other}; what can be read are ResNets as in the paper, of 18 to 152 layers or for CIFAR")
  if any(name.startswith(HUGGING_FACE) for name in arrays):
    raise ConfigError("has the names of Hugging Face's transformers: --from huggingface")
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
    raise ConfigError(f"has no {gaps[0]}, but what comes after it")
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
  """Whether an array is PyTorch's count of batches."""
  return name.endswith(f".{COUNTER}")


def with_counters(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the arrays with a count of batches, 0, beside each norm's statistics, as PyTorch saves them."""
  var = f".{LEAVES['var']}"
  counters = {name.removesuffix(var): np.int64(0) for name in arrays if name.endswith(var)}
  return {**arrays, **{f"{norm}.{COUNTER}": np.array(zero) for norm, zero in counters.items()}}
