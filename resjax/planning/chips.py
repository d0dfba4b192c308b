"""What is known of accelerators and of the slices they come in, from their makers' pages."""

import dataclasses
import math
import re

from resjax.settings import ConfigError, suggestion

GIB = 2**30
RESERVED = 0.75 * GIB  # of a device's memory, for the runtime: what the compiler keeps of 32 GiB


@dataclasses.dataclass(frozen=True)
class Chip:
  """One accelerator.

  Attributes:
    kind: part of what JAX calls it, in lower case.
    flops: operations a second by precision of the activations; a multiply-add is two. With float32 the factors of
      products are rounded, on a TPU to bfloat16, on a GPU to TF32.
    memory: bytes.
    bandwidth: of the memory, bytes a second.
    links: to other chips, bytes a second in one direction, over all links.
    shapes: of the slices there are; empty: a host of up to eight.
    source: where the figures are from.
  """

  kind: str
  flops: dict[str, float]
  memory: float
  bandwidth: float
  links: float
  shapes: tuple[str, ...]
  source: str


def _tpu(kind: str, flops: float, memory: int, bandwidth: float, links: float, shapes: str, page: str) -> Chip:
  rates = {"float32": flops, "bfloat16": flops}
  return Chip(
    kind, rates, memory * GIB, bandwidth, links, tuple(shapes.split()), f"docs.cloud.google.com/tpu/docs/{page}"
  )


def _gpu(kind: str, tf32: float, memory: int, bandwidth: float, links: float, page: str) -> Chip:
  rates = {"float32": tf32, "bfloat16": 2 * tf32}  # without sparsity
  return Chip(kind, rates, memory * 1e9, bandwidth, links, (), f"nvidia.com/en-us/data-center/{page}")


FLAT = "2x2 2x4 4x4 4x8 8x8 8x16 16x16"
CUBES = "2x2x1 2x2x2 2x2x4 2x4x4 4x4x4 4x4x8 4x8x8 8x8x8"
TPUS = {
  "v5e": _tpu("v5 lite", 197e12, 16, 819e9, 200e9, FLAT, "v5e"),
  "v6e": _tpu("v6 lite", 918e12, 32, 1638e9, 400e9, FLAT, "v6e"),
  "v5p": _tpu("v5p", 459e12, 95, 2765e9, 600e9, CUBES, "v5p"),
}
GPUS = {
  "a100": _gpu("a100", 156e12, 80, 2039e9, 300e9, "a100"),
  "h100": _gpu("h100", 494.5e12, 80, 3350e9, 450e9, "h100"),
  "h200": _gpu("h200", 494.5e12, 141, 4800e9, 450e9, "h200"),
}
MOST_GPUS = 8  # that are joined by fast links


@dataclasses.dataclass(frozen=True)
class Slice:
  """Some chips of one kind that are linked.

  Attributes:
    name: "v5e:2x4" or "gpu:h100x8".
    chip: what it is made of.
    count: how many.
    compiles: whether its compiler is at hand without it.
  """

  name: str
  chip: Chip
  count: int
  compiles: bool


def parse(name: str) -> Slice:
  """Returns the slice of a name such as v5e:2x4 or gpu:h100x8.

  Raises:
    ConfigError: there is no such slice; the message says which there are.
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
  """Returns the slices of the same chip with more of them, smallest first."""
  kind = slice_.name.partition(":")[0]
  shapes = [shape for shape in slice_.chip.shapes if _chips(shape) > slice_.count]
  return [Slice(f"{kind}:{shape}", slice_.chip, _chips(shape), slice_.compiles) for shape in shapes]


def _chips(shape: str) -> int:
  return math.prod(map(int, shape.split("x")))
