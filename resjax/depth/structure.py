"""What a net is made of, images and classes aside: families, their legal depths, stages and blocks."""

import dataclasses

BOTTLENECK_EXPANSION = 4  # the last 1x1 of a bottleneck restores to four times the width (Sec. 4.1)
LAYERS_A_BLOCK = {"basic": 2, "bottleneck": 3}


class DepthError(ValueError):
  """A depth that no net of the family has; the message says which there are."""


@dataclasses.dataclass(frozen=True)
class Family:
  """What nets have in common that differ in depth.

  Attributes:
    stem: their first layers, see `Structure.stem`.
    width: filters of the first stage; each further stage has twice as many.
    stages: how many, where all have the same number of blocks.
    named: blocks a stage of the nets that the paper lists, by (block, depth), where the stages differ.
  """

  stem: str
  width: int
  stages: int = 0
  named: dict[tuple[str, int], tuple[int, ...]] = dataclasses.field(default_factory=dict)


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

  def __post_init__(self) -> None:
    _ = self.blocks_a_stage

  @property
  def first_layers(self) -> str:
    """The stem: "3x3", or "7x7", which has stride 2 and is followed by a max pooling of stride 2."""
    return FAMILIES[self.family].stem if self.stem == "auto" else self.stem

  @property
  def pool_pads(self) -> tuple[int, int]:
    """What the max pooling of the first layers adds before and behind, on both axes."""
    return {"symmetric": (1, 1), "behind": (0, 1)}[self.pool_padding]

  @property
  def stages(self) -> tuple[Stage, ...]:
    """The stages from first to last; all but the first halve their maps and double the filters."""
    width = self.width or FAMILIES[self.family].width
    return tuple(Stage(blocks, width * 2**i, 1 if i == 0 else 2) for i, blocks in enumerate(self.blocks_a_stage))

  @property
  def blocks_a_stage(self) -> tuple[int, ...]:
    """How many blocks each stage has."""
    if self.blocks:
      given = sum(self.blocks) * LAYERS_A_BLOCK[self.block] + 2
      if given != self.depth:
        listed = ", ".join(map(str, self.blocks))
        raise DepthError(f"blocks = ({listed}) of {self.block} blocks make {given} layers")
      return self.blocks
    family = FAMILIES[self.family]
    return self._listed(family) if family.named else (self._even(family.stages),) * family.stages

  def _even(self, stages: int) -> int:
    """Returns n of a net of 6n+2 (basic) or 9n+2 (bottleneck) weighted layers (Sec. 4.2)."""
    period = stages * LAYERS_A_BLOCK[self.block]
    n, rest = divmod(self.depth - 2, period)
    if n >= 1 and rest == 0:
      return n
    below, above = max(n, 1) * period + 2, (max(n, 0) + 1) * period + 2
    nearest = str(above) if above == below else f"{below} and {above}"
    raise DepthError(f"not {period}n+2, the depths of {self.block} blocks in three stages; nearest: {nearest}")

  def _listed(self, family: Family) -> tuple[int, ...]:
    if (self.block, self.depth) in family.named:
      return family.named[self.block, self.depth]
    depths: dict[str, list[str]] = {}
    for block, depth in family.named:
      depths.setdefault(block, []).append(str(depth))
    there = "; ".join(f"{', '.join(some)} of {block} blocks" for block, some in depths.items())
    raise DepthError(f"no {self.family} net of {self.block} blocks; there is {there}; model.blocks makes others")

  def layers(self, filters: int) -> tuple[tuple[int, int], ...]:
    """The weighted layers of a block's main branch, as (side of the kernel, output channels)."""
    return {
      "basic": ((3, filters), (3, filters)),
      "bottleneck": ((1, filters), (3, filters), (1, filters * BOTTLENECK_EXPANSION)),
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
    if self.kind == "plain" or self.shortcut == "A":
      return False
    return self.shortcut == "C" or stride != 1 or inputs != outputs
