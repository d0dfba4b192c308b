"""Numbers published in "Deep Residual Learning for Image Recognition" (He et al., 2015).

Errors are fractions, as in the records; comments and fields name the table, figure or section. Values that the paper
does not print are marked: (derived) by arithmetic, (reproduction) from another reproduction.
"""

import dataclasses

from resjax import depth


@dataclasses.dataclass(frozen=True)
class CifarNet:
  """A residual network of Table 6, with option-A shortcuts (Sec. 4.2).

  Attributes:
    params: Exact number of parameters (derived); the paper prints it rounded.
    macs: Multiply-adds of the forward pass of one image (derived).
    error: Test error on CIFAR-10, the mean over the runs.
    spread: Standard deviation of the error over the runs; None where the paper trained once.
    best: Lowest error of the runs; None where the paper trained once.
    runs: Number of runs.
    source: Table of the paper.
  """

  params: int
  macs: float
  error: float
  spread: float | None = None
  best: float | None = None
  runs: int = 1
  source: str = "Table 6"


CIFAR10_STEPS, CIFAR10_BATCH_SIZE = 64_000, 128  # of the complete schedule (Sec. 4.2)

# By depth. A plain network of the same depth has the same number of parameters.
CIFAR10_RESIDUAL = {
  20: CifarNet(269_722, 40.55e6, 0.0875),
  32: CifarNet(464_154, 68.86e6, 0.0751),
  44: CifarNet(658_586, 97.17e6, 0.0717),
  56: CifarNet(853_018, 125.49e6, 0.0697),
  110: CifarNet(1_727_962, 252.89e6, 0.0661, spread=0.0016, best=0.0643, runs=5),
  1202: CifarNet(19_421_274, 2829.2e6, 0.0793),
}

# Lowest and highest test error of plain networks by depth, (reproduction): the paper shows only curves (Fig. 6 left).
CIFAR10_PLAIN_REPRODUCTIONS = {
  20: (0.087, 0.096),
  32: (0.094, 0.099),
  44: (0.104, 0.104),
  56: (0.118, 0.142),
  110: (0.77, 0.77),
}
# Lower bound of the test error of plain-110, "higher than 60%" and therefore not displayed in Fig. 6.
CIFAR10_PLAIN_110_ABOVE = 0.60
# Upper bound of the training error of the 1202-layer network, Sec. 4.2, "Exploring over 1000 layers".
CIFAR10_1202_TRAIN_BELOW = 0.001

# Table 6: test error and number of parameters of the other methods; None where not printed.
CIFAR10_OTHER_METHODS: dict[str, tuple[float, float | None]] = {
  "Maxout": (0.0938, None),
  "NIN": (0.0881, None),
  "DSN": (0.0822, None),
  "FitNet-19": (0.0839, 2.5e6),
  "Highway-19": (0.0754, 2.3e6),
  "Highway-32": (0.0880, 1.25e6),
}


@dataclasses.dataclass(frozen=True)
class ImageNetColumn:
  """A column of Table 1.

  Attributes:
    blocks: Number of blocks in each of the four stages.
    bottleneck: Whether the blocks are bottleneck blocks.
    macs: Multiply-adds of the forward pass of one image as printed, rounded unevenly.
    params: Number of parameters with option-B shortcuts (derived).
  """

  blocks: tuple[int, int, int, int]
  bottleneck: bool
  macs: float
  params: int


IMAGENET = {  # Table 1, by depth
  18: ImageNetColumn((2, 2, 2, 2), False, 1.8e9, 11_689_512),
  34: ImageNetColumn((3, 4, 6, 3), False, 3.6e9, 21_797_672),
  50: ImageNetColumn((3, 4, 6, 3), True, 3.8e9, 25_557_032),
  101: ImageNetColumn((3, 4, 23, 3), True, 7.6e9, 44_549_160),
  152: ImageNetColumn((3, 8, 36, 3), True, 11.3e9, 60_192_808),
}

# Table 2: top-1 error by (kind, depth), 10-crop, validation set, residual with option A.
IMAGENET_DEGRADATION = {
  ("plain", 18): 0.2794,
  ("plain", 34): 0.2854,
  ("residual", 18): 0.2788,
  ("residual", 34): 0.2503,
}

# Table 3: (top-1, top-5) error, 10-crop, validation set; None where not printed.
IMAGENET_TEN_CROP: dict[str, tuple[float | None, float]] = {
  "VGG-16": (0.2807, 0.0933),
  "GoogLeNet": (None, 0.0915),
  "PReLU-net": (0.2427, 0.0738),
  "plain-34": (0.2854, 0.1002),
  "ResNet-34 A": (0.2503, 0.0776),
  "ResNet-34 B": (0.2452, 0.0746),
  "ResNet-34 C": (0.2419, 0.0740),
  "ResNet-50": (0.2285, 0.0671),
  "ResNet-101": (0.2175, 0.0605),
  "ResNet-152": (0.2143, 0.0571),
}

# Exponents e of a best learning rate proportional to L^e in the number of blocks L, from other papers, by
# initialization and by a for branches multiplied by L^-a: -1.5 where the initial variance of the branches is divided
# by L (arXiv:2510.04327, 2602.07494), 0 where branches are divided by sqrt(L) (arXiv:2309.16620). Without a paper,
# 2a - 1 is expected, because a step of SGD changes the output of a network without normalization in proportion to
# rate * L^(1 - 2a).
LEARNING_RATE_EXPONENTS = {("depth", 0.0): -1.5, ("he", 0.5): 0.0}

# Table 4: (top-1, top-5) error of single models, averaged over several scales, validation set.
IMAGENET_SINGLE_MODEL = {
  "ResNet-34 B": (0.2184, 0.0571),
  "ResNet-34 C": (0.2153, 0.0560),
  "ResNet-50": (0.2074, 0.0525),
  "ResNet-101": (0.1987, 0.0460),
  "ResNet-152": (0.1938, 0.0449),
}
# Table 5: top-5 error of an ensemble of six on the test set.
IMAGENET_ENSEMBLE_TOP5 = 0.0357


@dataclasses.dataclass(frozen=True)
class DetectorScore:
  """A row of Tables 7 to 11: Faster R-CNN on a network (Sec. 4.3, appendices A and B).

  Attributes:
    source: Table of the paper.
    network: Classification network of the detector.
    detector: "baseline" for Faster R-CNN alone, or the additions to it.
    trained_on: Training images. "07+12" stands for the trainval sets of VOC 2007 and 2012, "07++12" for these and the
      test set of 2007.
    tested_on: Test images.
    map50: Mean average precision at an intersection over union (IoU) of 0.5, a fraction; of VOC 2007 as the mean over
      eleven recalls, of VOC 2012 the area under the precision-recall curve, of COCO the mean over 101 recalls.
    map: COCO's mean average precision over IoUs from 0.5 to 0.95, a fraction; None for VOC.
  """

  source: str
  network: str
  detector: str
  trained_on: str
  tested_on: str
  map50: float
  map: float | None = None


_VOC07, _VOC12, _COCO = ("VOC 07+12", "VOC 2007 test"), ("VOC 07++12", "VOC 2012 test"), ("COCO train", "COCO val")
_COCO_DEV = ("COCO trainval", "COCO test-dev")
_REFINED, _CONTEXT = "+ box refinement", "+ box refinement, context"
_PLUS = "+ box refinement, context, multi-scale testing"

DETECTION = (
  DetectorScore("Table 7", "VGG-16", "baseline", *_VOC07, 0.732),
  DetectorScore("Table 7", "ResNet-101", "baseline", *_VOC07, 0.764),
  DetectorScore("Table 7", "VGG-16", "baseline", *_VOC12, 0.704),
  DetectorScore("Table 7", "ResNet-101", "baseline", *_VOC12, 0.738),
  DetectorScore("Table 8", "VGG-16", "baseline", *_COCO, 0.415, 0.212),
  DetectorScore("Table 8", "ResNet-101", "baseline", *_COCO, 0.484, 0.272),
  DetectorScore("Table 9", "ResNet-101", _REFINED, *_COCO, 0.499, 0.299),
  DetectorScore("Table 9", "ResNet-101", _CONTEXT, *_COCO, 0.511, 0.300),
  DetectorScore("Table 9", "ResNet-101", _PLUS, *_COCO, 0.538, 0.325),
  DetectorScore("Table 9", "ResNet-101", _CONTEXT, *_COCO_DEV, 0.533, 0.322),
  DetectorScore("Table 9", "ResNet-101", _PLUS, *_COCO_DEV, 0.557, 0.349),
  DetectorScore("Table 9", "ResNet-101", f"{_PLUS}, ensemble of 3", *_COCO_DEV, 0.590, 0.374),
  DetectorScore("Table 10", "ResNet-101", _PLUS, "COCO and VOC 07+12", "VOC 2007 test", 0.856),
  DetectorScore("Table 11", "ResNet-101", _PLUS, "COCO and VOC 07++12", "VOC 2012 test", 0.838),
)


@dataclasses.dataclass(frozen=True)
class PublishedSize:
  """Size of a network in the paper.

  Attributes:
    params: Number of parameters; None where the paper does not give it.
    macs: Multiply-adds of the forward pass of one image; None where the paper does not give them.
  """

  params: float | None
  macs: float | None


# Sec. 3.3: multiply-adds of the VGG networks by depth; number of parameters (reproduction).
VGG = {16: PublishedSize(138_357_544, 15.3e9), 19: PublishedSize(143_667_240, 19.6e9)}


def published_size(net: depth.Structure, image_shape: tuple[int, int, int], classes: int) -> PublishedSize | None:
  """Returns the size that the paper gives for a network; None for a network that is not in the paper.

  Args:
    net: Structure of the network.
    image_shape: Height, width and channels of an image.
    classes: Number of classes.
  """
  default = not (net.blocks or net.width or net.preactivation) and net.stem == "auto"
  if image_shape == (32, 32, 3) and classes == 10:
    if net.shortcut == "gated" and net.kind == "residual" and f"Highway-{net.depth}" in CIFAR10_OTHER_METHODS:
      return PublishedSize(CIFAR10_OTHER_METHODS[f"Highway-{net.depth}"][1], None)
    if default and net.family == "cifar" and net.block == "basic" and net.depth in CIFAR10_RESIDUAL:
      known = CIFAR10_RESIDUAL[net.depth]
      return PublishedSize(known.params, known.macs) if net.kind == "plain" or net.shortcut == "A" else None
  if image_shape == (224, 224, 3) and classes == 1000 and default:
    if net.family == "imagenet" and net.bottleneck_stride == "1x1":
      projected = net.kind == "residual" and net.shortcut == "B"
      return PublishedSize(IMAGENET[net.depth].params if projected else None, IMAGENET[net.depth].macs)
    if net.family == "vgg" and net.kind == "plain":
      return PublishedSize(VGG[net.depth].params if net.norm == "none" else None, VGG[net.depth].macs)
  return None
