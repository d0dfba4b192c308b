"""Layer table of a Faster R-CNN detector, whose last stage is applied to each region (Sec. 4.3)."""

import dataclasses

from resjax.depth.layer import Layer
from resjax.depth.net import Net, strided_size
from resjax.depth.structure import VGG_DENSE

PROPOSAL_CHANNELS = 512  # of the 3x3 convolution of the proposals; the channels of its input if these are fewer


@dataclasses.dataclass(frozen=True)
class DetectorNet(Net):
  """Layer table of a detector for images of one size.

  The layers that are applied to each region have the height of all regions together, so that their multiply-adds are
  those of one image.

  Attributes:
    anchors: Number of anchors per position of the shared features.
    pool_size: Number of bins of a pooled region along each axis.
    regions: Number of regions per image.
    global_context: Whether the classification and box layers also take the features of the whole image, which is a
      further region for the layers before them (appendix).
  """

  anchors: int = 9
  pool_size: int = 14
  regions: int = 300
  global_context: bool = False

  @property
  def table(self) -> list[Layer]:
    """Layers from input to output: the shared ones, those of the proposals, then those of the regions."""
    layers = super().table
    vgg, last = self.structure.family == "vgg", len(self.structure.stages)
    if vgg:
      shared = [layer for layer in layers if layer.stage and layer.name != f"stage{last}/pool"]
    else:
      shared = [layer for layer in layers if layer.stage < last and not layer.name.startswith("head")]
    features = shared[-1] if vgg else next(layer for layer in reversed(shared) if layer.weighted)
    return [*shared, *self._proposals(features), *self._regions(layers, features)]

  def _proposals(self, features: Layer) -> list[Layer]:
    channels, size = min(PROPOSAL_CHANNELS, features.outputs), features.size
    name = "proposals"
    return [
      Layer(f"{name}/conv", "conv", 0, 0, 3, 1, features.outputs, channels, size, biased=True),
      Layer(f"{name}/objectness", "conv", 0, 0, 1, 1, channels, self.anchors, size, biased=True),
      Layer(f"{name}/boxes", "conv", 0, 0, 1, 1, channels, 4 * self.anchors, size, biased=True),
    ]

  def _regions(self, layers: list[Layer], features: Layer) -> list[Layer]:
    """Returns the layers that are applied to each region.

    Args:
      layers: Layer table of the classification network.
      features: Layer whose output is pooled.
    """
    maps = self.regions + self.global_context
    if self.structure.family == "vgg":
      found, width = [], self.pool_size**2 * features.outputs
      for i in (1, 2):
        found.append(
          Layer(f"head/dense{i}", "dense", 0, 0, 1, 1, width, VGG_DENSE, (maps, 1), weighted=True, biased=True)
        )
        width = VGG_DENSE
    else:
      pooled = (self.pool_size, self.pool_size)
      scaled = [layer for layer in layers if layer.stage == len(self.structure.stages)]
      first = scaled[0].stride
      half = strided_size(pooled, max(layer.stride for layer in scaled))
      # Feature maps of the last stage have the pooled size up to its layer of stride 2.
      found, size = [], pooled if first == 1 else half
      for layer in scaled:
        size = half if layer.stride > 1 or size == half else pooled
        found.append(dataclasses.replace(layer, size=(maps * size[0], size[1])))
      width = found[-1].outputs
    width *= 2 if self.global_context else 1
    return [
      *found,
      Layer(
        "head/classes", "dense", 0, 0, 1, 1, width, self.classes + 1, (self.regions, 1), weighted=True, biased=True
      ),
      Layer("head/boxes", "dense", 0, 0, 1, 1, width, 4 * (self.classes + 1), (self.regions, 1), biased=True),
    ]
