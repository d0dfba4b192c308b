"""Settings of detection with Faster R-CNN (Sec. 4.3, appendix A)."""

import dataclasses
import functools

from resjax.config.model import Model
from resjax.depth import DetectorNet
from resjax.settings import COUNT, FRACTION, POSITIVE, ConfigError, Range, setting as _setting

setting = functools.partial(_setting, later=True)

SIDE = Range(16, 8192)


@dataclasses.dataclass(frozen=True)
class Detection:
  """The detector on a network, where `data.name` is voc or coco; of no effect on classification."""

  backbone: str = setting(
    "",
    "run directory of the classification network that training starts from: trained here, or converted from another "
    "project; or a folder of several, of which the one with this network is taken; empty: random weights",
  )
  frozen_stages: int = setting(
    0, "first layers and stages whose weights stay as they are; 1: the first layers, 2: and stage 1", allowed=COUNT
  )
  shorter_side: int = setting(600, "pixels of the shorter side of an image", allowed=SIDE)
  longer_side: int = setting(1000, "pixels of the longer side at most, which wins", allowed=SIDE)
  anchor_scales: tuple[float, ...] = setting(
    (128.0, 256.0, 512.0), "square roots of the anchors' areas, in pixels", allowed=Range(1.0, 8192.0)
  )
  anchor_ratios: tuple[float, ...] = setting((0.5, 1.0, 2.0), "height over width of anchors", allowed=Range(0.05, 20.0))
  anchors: int = setting(
    256, "anchors per image that the proposals are trained on, half of them objects", allowed=POSITIVE
  )
  crossing_anchors: bool = setting(False, "train anchors that cross the border of the image")
  train_candidates: int = setting(12_000, "training: best anchors before suppression", allowed=POSITIVE)
  train_proposals: int = setting(2_000, "training: proposals per image", allowed=POSITIVE)
  test_candidates: int = setting(6_000, "test: best anchors before suppression", allowed=POSITIVE)
  test_proposals: int = setting(300, "test: proposals per image", allowed=POSITIVE)
  proposal_overlap: float = setting(0.7, "overlap above which a proposal is suppressed", allowed=FRACTION)
  regions: int = setting(
    128, "regions per image that the last stage is trained on, a quarter objects", allowed=POSITIVE
  )
  background_overlap: float = setting(0.0, "least overlap of a region trained as background", allowed=FRACTION)
  pooling: str = setting(
    "align", "features of a region by bilinear sampling, or by the maximum of each bin", allowed=("align", "max")
  )
  pool_size: int = setting(14, "bins of a pooled region, on each axis", allowed=Range(1, 64))
  objects: int = setting(100, "objects per image at most; further ones are not trained, with a note", allowed=POSITIVE)
  global_context: bool = setting(False, "the class layer also sees the features of the whole image (appendix)")
  refine: bool = setting(False, "test: boxes are scored and regressed a second time (appendix, box refinement)")
  box_voting: bool = setting(False, "test: a box is the weighted mean of those it suppresses (appendix)")
  overlap: float = setting(
    0.3, "test: overlap above which a detection of the same class is suppressed", allowed=FRACTION
  )
  score_threshold: float = setting(0.05, "test: least probability of a detection", allowed=FRACTION)
  detections: int = setting(100, "test: detections per image at most", allowed=POSITIVE)

  def net(self, model: Model, classes: int) -> DetectorNet:
    """Returns the layer table of a detector on landscape images of the largest size, with its regions at test."""
    return DetectorNet(
      model.structure,
      (self.shorter_side, self.longer_side, 3),
      classes,
      len(self.anchor_scales) * len(self.anchor_ratios),
      self.pool_size,
      self.test_proposals,
      self.global_context,
    )

  def __post_init__(self) -> None:
    if self.longer_side < self.shorter_side:
      raise ConfigError(
        f"detection.longer_side = {self.longer_side}: must be at least detection.shorter_side = {self.shorter_side}"
      )
    for key in ("anchor_scales", "anchor_ratios"):
      if not getattr(self, key):
        raise ConfigError(f"detection.{key} is empty: must be one number or more")
