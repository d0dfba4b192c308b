"""Structure of networks: families, their valid depths, stages and blocks."""

import collections
import dataclasses

BOTTLENECK_EXPANSION = 4  # the last 1x1 of a bottleneck restores to four times the width (Sec. 4.1)
VGG_DENSE = 4096  # width of the two hidden dense layers of a VGG network
VGG_MAX_FILTERS = 512
LAYERS_PER_BLOCK = {"basic": 2, "bottleneck": 3, "single": 1, "dense": 2}  # weighted layers in the main branch
SHORTCUT_SCALARS: dict[str, tuple[str, ...]] = collections.defaultdict(  # names of the learned scalars of each shortcut
  tuple, rezero=("gain",), skipinit=("gain",)
)
GATED_SHORTCUTS = ("gated", "gate", "exclusive_gate")  # shortcuts with a gate, a convolution of the block's input
CONVOLUTIONAL_BLOCKS = ("basic", "bottleneck", "single")


class DepthError(ValueError):
  """No network of the family has this depth; the message lists the possible ones."""


@dataclasses.dataclass(frozen=True)
class Family:
  """Networks that differ only in depth.

  Attributes:
    stem: First layers, see `Structure.first_layers`.
    width: Filters of the first stage; each further stage has twice as many.
    stages: Number of stages, if all have the same number of blocks.
    published: Blocks per stage of the published networks by (block type, depth), if the stages of one network differ in
      their number of blocks.
    block_types: Allowed values of `model.block`.
    other_layers: Number of weighted layers outside of blocks.
  """

  stem: str
  width: int
  stages: int = 0
  published: dict[tuple[str, int], tuple[int, ...]] = dataclasses.field(default_factory=dict)
  block_types: tuple[str, ...] = CONVOLUTIONAL_BLOCKS
  other_layers: int = 2


FAMILIES = {
  "cifar": Family("3x3", 16, stages=3),  # Sec. 4.2
  "imagenet": Family(  # Table 1
    "7x7",
    64,
    published={
      ("basic", 18): (2, 2, 2, 2),
      ("basic", 34): (3, 4, 6, 3),
      ("bottleneck", 50): (3, 4, 6, 3),
      ("bottleneck", 101): (3, 4, 23, 3),
      ("bottleneck", 152): (3, 8, 36, 3),
    },
  ),
  "vgg": Family(  # Simonyan and Zisserman 2014, the paper's [41], where they are plain and without norms
    "none",
    64,
    published={("single", 16): (2, 2, 3, 3, 3), ("single", 19): (2, 2, 4, 4, 4)},
    block_types=("single",),
    other_layers=3,
  ),
  "mlp": Family("flat", 128, stages=1, block_types=("dense",)),  # fully connected layers, Sec. 3.2
}


@dataclasses.dataclass(frozen=True)
class Stage:
  """Consecutive blocks with feature maps of one size.

  Attributes:
    blocks: Number of blocks.
    filters: Output channels of the 3x3 layers.
    stride: Stride of the first block, 2 where the feature maps are halved.
  """

  blocks: int
  filters: int
  stride: int


@dataclasses.dataclass(frozen=True)
class Structure:
  """Structure of a network, independent of image size and classes; `config.Model` describes the fields.

  Raises:
    DepthError: The family has no network of this depth, or `blocks` give another depth.
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
    _ = self.blocks_per_stage

  @property
  def first_layers(self) -> str:
    """The stem: "3x3", "7x7", "flat" or "none".

    "7x7" has stride 2 and is followed by max pooling of stride 2. "flat" is a fully connected layer: a 1x1 convolution
    of the image flattened to one pixel.
    """
    return FAMILIES[self.family].stem if self.stem == "auto" else self.stem

  @property
  def stem_pool_padding(self) -> tuple[int, int]:
    """Padding of the stem's max pooling before and after each axis."""
    return {"symmetric": (1, 1), "behind": (0, 1)}[self.pool_padding]

  @property
  def stages(self) -> tuple[Stage, ...]:
    """Stages from first to last; all but the first halve the feature maps and double the filters.

    In a VGG network, pooling after each stage halves the feature maps, and filters are doubled up to 512.
    """
    width = self.width or FAMILIES[self.family].width
    if self.family == "vgg":
      return tuple(
        Stage(blocks, min(width * 2**i, VGG_MAX_FILTERS), 1) for i, blocks in enumerate(self.blocks_per_stage)
      )
    return tuple(Stage(blocks, width * 2**i, 1 if i == 0 else 2) for i, blocks in enumerate(self.blocks_per_stage))

  @property
  def blocks_per_stage(self) -> tuple[int, ...]:
    """Number of blocks of each stage."""
    family = FAMILIES[self.family]
    if self.blocks:
      given = sum(self.blocks) * LAYERS_PER_BLOCK[self.block] + family.other_layers
      if given != self.depth:
        listed = ", ".join(map(str, self.blocks))
        raise DepthError(f"blocks = ({listed}) of {self.block} blocks make {given} layers")
      return self.blocks
    return self._published_blocks(family) if family.published else (self._equal_blocks(family.stages),) * family.stages

  @property
  def has_fixed_input_size(self) -> bool:
    """Whether the network takes images of one size only, because a dense layer takes all pixels of its input."""
    return self.family == "vgg" or self.first_layers == "flat"

  @property
  def fixup(self) -> bool:
    """Whether the network is one of Fixup (Zhang et al. 2019): no norms, and scalar biases around each convolution."""
    return self.kind == "residual" and self.shortcut == "fixup"

  @property
  def total_blocks(self) -> int:
    """Number of blocks in all stages, the L of scaling with depth."""
    return sum(self.blocks_per_stage)

  def _equal_blocks(self, stages: int) -> int:
    """Returns the blocks per stage: the n of 6n+2 (basic) or 9n+2 (bottleneck) weighted layers (Sec. 4.2).

    Raises:
      DepthError: The depth has no such n; the message names the nearest depths.
    """
    period = stages * LAYERS_PER_BLOCK[self.block]
    n, rest = divmod(self.depth - 2, period)
    if n >= 1 and rest == 0:
      return n
    below, above = max(n, 1) * period + 2, (max(n, 0) + 1) * period + 2
    nearest = str(above) if above == below else f"{below} and {above}"
    where = "three stages" if stages == 3 else "one stage"
    raise DepthError(f"not {period}n+2, the depths of {self.block} blocks in {where}; nearest: {nearest}")

  def _published_blocks(self, family: Family) -> tuple[int, ...]:
    """Returns the blocks per stage of the published network of this depth.

    Raises:
      DepthError: There is none; the message names the published depths.
    """
    if (self.block, self.depth) in family.published:
      return family.published[self.block, self.depth]
    depths: dict[str, list[str]] = {}
    for block, depth in family.published:
      depths.setdefault(block, []).append(str(depth))
    there = "; ".join(f"{', '.join(some)} of {block} blocks" for block, some in depths.items())
    raise DepthError(
      f"must be the depth of a published network of the family {self.family!r}: {there}; "
      "for another depth set model.blocks"
    )

  @property
  def layers_per_block(self) -> int:
    """Number of weighted layers in the main branch of a block."""
    return LAYERS_PER_BLOCK[self.block]

  def layers(self, filters: int) -> tuple[tuple[int, int], ...]:
    """Returns (kernel size, output channels) of each weighted layer in the main branch of a block."""
    return {
      "basic": ((3, filters), (3, filters)),
      "bottleneck": ((1, filters), (3, filters), (1, filters * BOTTLENECK_EXPANSION)),
      "single": ((3, filters),),
      "dense": ((1, filters), (1, filters)),
    }[self.block]

  def strides(self, stride: int) -> tuple[int, ...]:
    """Returns the strides of the layers in the main branch of a block.

    The first layer has the stride of the block (Sec. 3.3 and 4.1). With `bottleneck_stride` "3x3", the second layer of
    a bottleneck block has it.

    Args:
      stride: Stride of the block.
    """
    if self.block == "bottleneck" and self.bottleneck_stride == "3x3":
      return 1, stride, 1
    return stride, *(1 for _ in range(LAYERS_PER_BLOCK[self.block] - 1))

  def has_projection(self, stride: int, inputs: int, outputs: int) -> bool:
    """Returns whether the shortcut of a block with this stride and these channels is a projection (Sec. 3.3)."""
    if self.kind == "plain" or self.shortcut not in ("B", "C"):
      return False
    return self.shortcut == "C" or stride != 1 or inputs != outputs
