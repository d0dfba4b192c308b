"""Published specifications of accelerators and their slices."""

import dataclasses
import math
import re

from resjax.depth.memory import ESTIMATE_FRACTION
from resjax.settings import ConfigError, suggestion

GIB = 2**30
RESERVED = 0.75 * GIB  # memory of a TPU reserved for the runtime: the compiler's reserve on a chip of 32 GiB
# Fraction of a GPU's memory that JAX allocates, unless the environment sets XLA_CLIENT_MEM_FRACTION.
GPU_FRACTION = 0.75


@dataclasses.dataclass(frozen=True)
class Chip:
  """Specification of an accelerator.

  Attributes:
    kind: Part of JAX's name of the device kind, in lower case.
    flops: Peak floating-point operations per second, two for a multiply-add, by precision of the activations. With
      float32 the operands of products are rounded, on a TPU to bfloat16, on a GPU to TF32.
    memory: Memory in bytes.
    bandwidth: Memory bandwidth in bytes per second.
    links: Bandwidth to other chips in bytes per second, in one direction over all links.
    shapes: Shapes of the available slices; empty for GPUs, which are available as hosts of up to `MOST_GPUS`.
    source: Source of the figures.
  """

  kind: str
  flops: dict[str, float]
  memory: float
  bandwidth: float
  links: float
  shapes: tuple[str, ...]
  source: str


def _both(flops: float) -> dict[str, float]:
  return {"float32": flops, "bfloat16": flops}


def _gpu(kind: str, tf32: float, memory: int, bandwidth: float, links: float) -> Chip:
  rates = {"float32": tf32, "bfloat16": 2 * tf32}  # without sparsity
  return Chip(kind, rates, memory * 1e9, bandwidth, links, (), f"nvidia.com/en-us/data-center/{kind}")


_DOCS = "docs.cloud.google.com/tpu/docs"
FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8")
TPUS = {
  "v5e": Chip("v5 lite", _both(197e12), 16 * GIB, 819e9, 200e9, FLAT, f"{_DOCS}/v5e"),
  "v6e": Chip("v6 lite", _both(918e12), 32 * GIB, 1638e9, 400e9, FLAT, f"{_DOCS}/v6e"),
  "v5p": Chip("v5p", _both(459e12), 95 * GIB, 2765e9, 600e9, CUBES, f"{_DOCS}/v5p"),
}
GPUS = {
  "a100": _gpu("a100", 156e12, 80, 2039e9, 300e9),
  "h100": _gpu("h100", 494.5e12, 80, 3350e9, 450e9),
  "h200": _gpu("h200", 494.5e12, 141, 4800e9, 450e9),
}
MOST_GPUS = 8  # maximum number of GPUs that are connected by fast links


@dataclasses.dataclass(frozen=True)
class Slice:
  """A group of connected chips of one kind.

  Attributes:
    name: Name, such as "v5e:2x4" or "gpu:h100x8".
    chip: Specification of the chips.
    count: Number of chips.
    compiles: Whether programs can be compiled for it without the hardware.
  """

  name: str
  chip: Chip
  count: int
  compiles: bool

  @property
  def memory_limit(self) -> float:
    """Maximum bytes of a run on each chip: of a compiled program, or of an estimate, which needs a margin."""
    if self.compiles:
      return self.chip.memory - RESERVED
    return ESTIMATE_FRACTION * GPU_FRACTION * self.chip.memory


def parse(name: str) -> Slice:
  """Returns the slice with a name such as v5e:2x4 or gpu:h100x8.

  Raises:
    ConfigError: The slice does not exist; the message lists those that do.
  """
  kind, _, shape = name.partition(":")
  if kind == "gpu":
    model, _, count = shape.rpartition("x")
    if model in GPUS and re.fullmatch(rf"[1-{MOST_GPUS}]", count):
      return Slice(name, GPUS[model], int(count), compiles=False)
    raise ConfigError(f"--topology {name}: must be gpu:NAMExN with NAME one of {', '.join(GPUS)}, N 1 to {MOST_GPUS}")
  if kind not in TPUS:
    raise ConfigError(f"--topology {name}: unknown chip {kind!r}{suggestion(kind, [*TPUS, 'gpu'])}")
  if shape not in TPUS[kind].shapes:
    raise ConfigError(f"--topology {name}: slices of {kind} are {', '.join(TPUS[kind].shapes)}")
  return Slice(name, TPUS[kind], _chips(shape), compiles=True)


def larger(slice_: Slice) -> list[Slice]:
  """Returns the larger slices of the same chip in ascending order."""
  kind = slice_.name.partition(":")[0]
  shapes = [shape for shape in slice_.chip.shapes if _chips(shape) > slice_.count]
  return [Slice(f"{kind}:{shape}", slice_.chip, _chips(shape), slice_.compiles) for shape in shapes]


def _chips(shape: str) -> int:
  return math.prod(map(int, shape.split("x")))
