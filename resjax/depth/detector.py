"""The layer table of a detector: a network with region proposals, whose last stage sees regions (Sec. 4.3)."""

import dataclasses

from resjax.depth.layer import Layer
from resjax.depth.net import Net, divided
from resjax.depth.structure import VGG_DENSE

PROPOSAL_CHANNELS = 512  # of the proposals' 3x3 convolution, or as many as the features have if these are fewer


@dataclasses.dataclass(frozen=True)
class DetectorNet(Net):
  """A detector for images of one size; what each region costs stands in the height of its maps, times `regions`.

  Attributes:
    anchors: Anchors per position of the shared features.
    pool_size: Bins of a pooled region, on each axis.
    regions: Regions per image.
    global_context: Whether the class layer also sees the features of the whole image.
  """

  anchors: int = 9
  pool_size: int = 14
  regions: int = 300
  global_context: bool = False

  @property
  def table(self) -> list[Layer]:
    """The layers from input to output: shared ones, proposals, then those of the regions."""
    layers = super().table
    vgg, last = self.structure.family == "vgg", len(self.structure.stages)
    if vgg:
      shared = [layer for layer in layers if layer.stage and layer.name != f"stage{last}/pool"]
    else:
      shared = [layer for layer in layers if layer.stage < last and not layer.name.startswith("head")]
    features = shared[-1] if vgg else next(layer for layer in reversed(shared) if layer.weighted)
    return [*shared, *self._proposals(features), *self._regions(layers, features)]

  def _proposals(self, features: Layer) -> list[Layer]:
    channels, side = min(PROPOSAL_CHANNELS, features.outputs), features.side
    name = "proposals"
    return [
      Layer(f"{name}/conv", "conv", 0, 0, 3, 1, features.outputs, channels, side, biased=True),
      Layer(f"{name}/objectness", "conv", 0, 0, 1, 1, channels, self.anchors, side, biased=True),
      Layer(f"{name}/boxes", "conv", 0, 0, 1, 1, channels, 4 * self.anchors, side, biased=True),
    ]

  def _regions(self, layers: list[Layer], features: Layer) -> list[Layer]:
    """Returns the layers that each region passes."""
    if self.structure.family == "vgg":
      found, width = [], self.pool_size**2 * features.outputs
      for i in (1, 2):
        found.append(
          Layer(f"head/dense{i}", "dense", 0, 0, 1, 1, width, VGG_DENSE, (self.regions, 1), weighted=True, biased=True)
        )
        width = VGG_DENSE
    else:
      pooled = (self.pool_size, self.pool_size)
      scaled = [layer for layer in layers if layer.stage == len(self.structure.stages)]
      first = scaled[0].stride
      half = divided(pooled, max(layer.stride for layer in scaled))
      # The maps of the last stage are of the pooled size up to its layer of stride 2.
      found, side = [], pooled if first == 1 else half
      for layer in scaled:
        side = half if layer.stride > 1 or side == half else pooled
        found.append(dataclasses.replace(layer, side=(self.regions * side[0], side[1])))
      width = found[-1].outputs
    seen = width * (2 if self.global_context else 1)
    return [
      *found,
      Layer("head/classes", "dense", 0, 0, 1, 1, seen, self.classes + 1, (self.regions, 1), weighted=True, biased=True),
      Layer("head/boxes", "dense", 0, 0, 1, 1, width, 4 * (self.classes + 1), (self.regions, 1), biased=True),
    ]
