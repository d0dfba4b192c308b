"""What a net is made of, images and classes aside: families, their legal depths, stages and blocks."""

import collections
import dataclasses

BOTTLENECK_EXPANSION = 4  # the last 1x1 of a bottleneck restores to four times the width (Sec. 4.1)
VGG_DENSE = 4096  # width of the two dense layers before a VGG net's last
VGG_WIDEST = 512
LAYERS_A_BLOCK = {"basic": 2, "bottleneck": 3, "single": 1, "dense": 2}
SCALARS: dict[str, tuple[str, ...]] = collections.defaultdict(  # the single numbers that some shortcuts learn
  tuple, rezero=("gain",), skipinit=("gain",), fixup=("gain", "shift")
)
CONVOLUTIONAL = ("basic", "bottleneck", "single")


class DepthError(ValueError):
  """A depth that no net of the family has; the message says which there are."""


@dataclasses.dataclass(frozen=True)
class Family:
  """What nets have in common that differ in depth.

  Attributes:
    stem: their first layers, see `Structure.first_layers`.
    width: filters of the first stage; each further stage has twice as many.
    stages: how many, where all have the same number of blocks.
    named: blocks a stage of the nets that are known by their depth, by (block, depth), where the stages differ.
    built_of: the kinds of blocks it may have.
    outside: weighted layers that belong to no block.
  """

  stem: str
  width: int
  stages: int = 0
  named: dict[tuple[str, int], tuple[int, ...]] = dataclasses.field(default_factory=dict)
  built_of: tuple[str, ...] = CONVOLUTIONAL
  outside: int = 2


FAMILIES = {
  "cifar": Family("3x3", 16, stages=3),  # Sec. 4.2
  "imagenet": Family(  # Table 1
    "7x7",
    64,
    named={
      ("basic", 18): (2, 2, 2, 2),
      ("basic", 34): (3, 4, 6, 3),
      ("bottleneck", 50): (3, 4, 6, 3),
      ("bottleneck", 101): (3, 4, 23, 3),
      ("bottleneck", 152): (3, 8, 36, 3),
    },
  ),
  "vgg": Family(  # Simonyan and Zisserman 2014, the paper's [41]; there plain and without norms
    "none",
    64,
    named={("single", 16): (2, 2, 3, 3, 3), ("single", 19): (2, 2, 4, 4, 4)},
    built_of=("single",),
    outside=3,
  ),
  "mlp": Family("flat", 128, stages=1, built_of=("dense",)),  # fully connected layers, Sec. 3.2
}


@dataclasses.dataclass(frozen=True)
class Stage:
  """Blocks on maps of one size.

  Attributes:
    blocks: how many.
    filters: of their 3x3 layers.
    stride: of the first block.
  """

  blocks: int
  filters: int
  stride: int


@dataclasses.dataclass(frozen=True)
class Structure:
  """A net without its images; the fields are those of `config.Model` with the same names, where they are explained.

  Raises:
    DepthError: the depth is not one of the family, or not what `blocks` give.
  """

  family: str
  kind: str
  depth: int
  blocks: tuple[int, ...]
  block: str
  width: int
  stem: str
  pool_padding: str
  shortcut: str
  bottleneck_stride: str
  preactivation: bool
  norm: str

  def __post_init__(self) -> None:
    _ = self.blocks_a_stage

  @property
  def first_layers(self) -> str:
    """The stem: "3x3"; "7x7", which has stride 2 and is followed by a max pooling of stride 2; "flat", which makes the
    image one pixel of many channels for a 1x1 convolution, that is a fully connected layer; or "none".
    """
    return FAMILIES[self.family].stem if self.stem == "auto" else self.stem

  @property
  def pool_pads(self) -> tuple[int, int]:
    """What the max pooling of the first layers adds before and behind, on both axes."""
    return {"symmetric": (1, 1), "behind": (0, 1)}[self.pool_padding]

  @property
  def stages(self) -> tuple[Stage, ...]:
    """The stages from first to last; all but the first halve their maps and double the filters.

    In a VGG net a pooling behind each stage halves the maps, and filters grow to 512.
    """
    width = self.width or FAMILIES[self.family].width
    if self.family == "vgg":
      return tuple(Stage(blocks, min(width * 2**i, VGG_WIDEST), 1) for i, blocks in enumerate(self.blocks_a_stage))
    return tuple(Stage(blocks, width * 2**i, 1 if i == 0 else 2) for i, blocks in enumerate(self.blocks_a_stage))

  @property
  def blocks_a_stage(self) -> tuple[int, ...]:
    """How many blocks each stage has."""
    family = FAMILIES[self.family]
    if self.blocks:
      given = sum(self.blocks) * LAYERS_A_BLOCK[self.block] + family.outside
      if given != self.depth:
        listed = ", ".join(map(str, self.blocks))
        raise DepthError(f"blocks = ({listed}) of {self.block} blocks make {given} layers")
      return self.blocks
    return self._listed(family) if family.named else (self._even(family.stages),) * family.stages

  @property
  def total_blocks(self) -> int:
    """Number of blocks in all stages, the L of scaling with depth."""
    return sum(self.blocks_a_stage)

  def _even(self, stages: int) -> int:
    """Returns n of a net of 6n+2 (basic) or 9n+2 (bottleneck) weighted layers (Sec. 4.2)."""
    period = stages * LAYERS_A_BLOCK[self.block]
    n, rest = divmod(self.depth - 2, period)
    if n >= 1 and rest == 0:
      return n
    below, above = max(n, 1) * period + 2, (max(n, 0) + 1) * period + 2
    nearest = str(above) if above == below else f"{below} and {above}"
    where = "three stages" if stages == 3 else "one stage"
    raise DepthError(f"not {period}n+2, the depths of {self.block} blocks in {where}; nearest: {nearest}")

  def _listed(self, family: Family) -> tuple[int, ...]:
    if (self.block, self.depth) in family.named:
      return family.named[self.block, self.depth]
    depths: dict[str, list[str]] = {}
    for block, depth in family.named:
      depths.setdefault(block, []).append(str(depth))
    there = "; ".join(f"{', '.join(some)} of {block} blocks" for block, some in depths.items())
    raise DepthError(f"no {self.family} net of {self.block} blocks; there is {there}; model.blocks makes others")

  @property
  def layers_a_block(self) -> int:
    """Weighted layers of a block's main branch."""
    return LAYERS_A_BLOCK[self.block]

  def layers(self, filters: int) -> tuple[tuple[int, int], ...]:
    """The weighted layers of a block's main branch, as (side of the kernel, output channels)."""
    return {
      "basic": ((3, filters), (3, filters)),
      "bottleneck": ((1, filters), (3, filters), (1, filters * BOTTLENECK_EXPANSION)),
      "single": ((3, filters),),
      "dense": ((1, filters), (1, filters)),
    }[self.block]

  def strides(self, stride: int) -> tuple[int, ...]:
    """The strides of those layers in a block of this stride.

    It stands on the first layer (Sec. 3.3 and 4.1), of a bottleneck with `bottleneck_stride` "3x3" on the second.
    """
    if self.block == "bottleneck" and self.bottleneck_stride == "3x3":
      return 1, stride, 1
    return stride, *(1 for _ in range(LAYERS_A_BLOCK[self.block] - 1))

  def projects(self, stride: int, inputs: int, outputs: int) -> bool:
    """Whether a block with this stride and these channels has a projection on its shortcut."""
    if self.kind == "plain" or self.shortcut not in ("B", "C"):
      return False
    return self.shortcut == "C" or stride != 1 or inputs != outputs
