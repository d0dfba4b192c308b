"""Settings of detection with Faster R-CNN (Sec. 4.3, appendix A)."""

import dataclasses
import functools

from resjax.config.model import Model
from resjax.depth import DetectorNet
from resjax.settings import COUNT, FRACTION, POSITIVE, ConfigError, Range, setting as _setting

setting = functools.partial(_setting, later=True)

SIDE = Range(16, 8192)


# The paper's values of settings outside of `model` by `data.name` (appendix A). For VOC it refers to Ren et al. (2015),
# who train the two stages in alternation, so that their steps have no counterpart here. For COCO both stages have
# 240,000 steps at 0.001 and 80,000 at 0.0001, the first with 8 images per step and the second with 16.
_BOTH = {
  "detection.pooling": "max",
  "detection.test_proposals": 300,
  "train.learning_rate": 0.001,
  "train.schedule": "steps",
  "train.drop_factor": 0.1,
}
PAPER = {
  "voc": _BOTH | {"train.momentum": 0.9, "train.weight_decay": 0.0005},
  "coco": _BOTH | {"train.steps": 320_000, "train.drops": (0.75,)},
}


@dataclasses.dataclass(frozen=True)
class Detection:
  """Settings of the detector that is trained if `data.name` is voc or coco."""

  backbone: str = setting(
    "",
    "run directory of the classification network from which training starts, trained here or converted from another "
    "project; or a directory of several, from which the one with the same network is chosen; empty: random weights",
  )
  frozen_stages: int = setting(
    0,
    "number of leading stages that are frozen, counting the stem as the first; VGG has no stem",
    allowed=COUNT,
  )
  shorter_side: int = setting(600, "length of the shorter side of a resized image, in pixels", allowed=SIDE)
  longer_side: int = setting(
    1000, "maximum length of the longer side, in pixels; it takes precedence over shorter_side", allowed=SIDE
  )
  anchor_scales: tuple[float, ...] = setting(
    (128.0, 256.0, 512.0), "square roots of the anchors' areas, in pixels", allowed=Range(1.0, 8192.0)
  )
  anchor_ratios: tuple[float, ...] = setting(
    (0.5, 1.0, 2.0), "aspect ratios of the anchors, height over width", allowed=Range(0.05, 20.0)
  )
  anchors: int = setting(
    256, "anchors sampled per image for the RPN loss, at most half of them positive", allowed=POSITIVE
  )
  crossing_anchors: bool = setting(False, "also use anchors that cross the image border in the RPN loss")
  train_candidates: int = setting(
    12_000, "training: highest-scoring anchors before non-maximum suppression", allowed=POSITIVE
  )
  train_proposals: int = setting(2_000, "training: maximum number of proposals per image", allowed=POSITIVE)
  test_candidates: int = setting(
    6_000, "test: highest-scoring anchors before non-maximum suppression", allowed=POSITIVE
  )
  test_proposals: int = setting(300, "test: maximum number of proposals per image", allowed=POSITIVE)
  proposal_overlap: float = setting(
    0.7, "IoU with a better proposal above which a proposal is suppressed", allowed=FRACTION
  )
  regions: int = setting(
    128,
    "RoIs sampled per image for the loss of the second stage, at most a quarter of them positive",
    allowed=POSITIVE,
  )
  background_overlap: float = setting(0.0, "lower IoU bound of background RoIs", allowed=FRACTION)
  pooling: str = setting(
    "align",
    "pooling of the features of a region. align: RoIAlign (bilinear sampling, He et al. 2017); max: maximum of each "
    "bin, as in the paper",
    allowed=("align", "max"),
  )
  pool_size: int = setting(14, "number of bins of a pooled region along each axis", allowed=Range(1, 64))
  objects: int = setting(
    100,
    "training: number of boxes for which memory is reserved per image, at least the largest number of boxes in a "
    "training image",
    allowed=POSITIVE,
  )
  global_context: bool = setting(
    False, "the classification and box layers also take the features of the whole image (appendix)"
  )
  refine: bool = setting(
    False, "test: the regressed boxes are scored and regressed a second time (appendix, box refinement)"
  )
  box_voting: bool = setting(
    False, "test: a box is replaced by the weighted mean of overlapping boxes of its class (appendix)"
  )
  overlap: float = setting(0.3, "test: IoU threshold of the per-class non-maximum suppression", allowed=FRACTION)
  score_threshold: float = setting(0.05, "test: smallest class probability of a detection", allowed=FRACTION)
  detections: int = setting(100, "test: maximum number of detections per image", allowed=POSITIVE)

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
        raise ConfigError(f"detection.{key} = (): must contain at least one number")
