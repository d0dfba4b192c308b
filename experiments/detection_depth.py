"""Does a deeper backbone find more objects? (Sec. 4.3, Tables 7 and 8)

    python -m resjax.main --config experiments/detection_depth.py --config.data.path=VOCdevkit \\
        --only "kind=residual" --config.detection.backbone=runs/imagenet_depth
    python -m resjax.main --config experiments/detection_depth.py:coco --config.data.path=COCO \\
        --only "kind=residual" --config.detection.backbone=runs/imagenet_depth
    python -m resjax.main --config experiments/detection_depth.py:small --config.data.path=FOLDER \\
        --config.detection.backbone=runs/detection_backbones

The same Faster R-CNN on VGG-16, on residual networks of 18 to 101 layers, and on plain networks of the same depths. The
paper compares VGG-16 and ResNet-101: 73.2 and 76.4 % mAP on VOC 2007 (trained on 2007 and 2012), 41.5 and 48.4 % mAP@.5
on COCO. `:small` is for a few hundred images of 256 pixels, with narrow networks from
`experiments/detection_backbones.py`.

Each run starts from the weights of a classification run in `detection.backbone` that has its network, if possible with
its seed. `experiments/imagenet_depth.py` trains the residual networks, and `experiments/imagenet_plain_vs_residual.py`
the plain ones of 18 and 34 layers. Without a backbone, the frozen batch norm of random weights normalizes nothing, and
the events of the run say so.
"""

from resjax import config
from resjax.sweep import axis, chain, product, zipped

VARIANTS = ("coco", "small")
SHALLOW = {"model.depth": 10, "model.blocks": (1, 1, 1, 1)}  # a depth that Table 1 does not have


def get_config(variant: str = ""):
  """Returns the recipe for VOC, for COCO, or for some hundred small images."""
  c = config.small_detection() if variant == "small" else config.detection()
  c.model.shortcut = "B"
  if variant == "small":
    c.model.width = 32
  if variant == "coco":  # 240,000 steps at 0.001, then 80,000 at 0.0001
    c.data.name = "coco"
    c.train.steps, c.train.drops = 320_000, (0.75,)
  return c


def sweep(variant: str = ""):
  """Returns the detectors, shallow backbones first."""
  kinds = axis("model.kind", ("residual", "plain"))
  if variant == "small":
    return product(axis("seed", (0, 1)), kinds, chain([SHALLOW], axis("model.depth", (18, 34))))
  vgg = {"model.family": "vgg", "model.kind": "plain", "model.depth": 16, "model.block": "single", "model.norm": "none"}
  vgg["detection.pool_size"] = 7  # its dense layers take 7x7
  depths = zipped(axis("model.depth", (18, 34, 50, 101)), axis("model.block", ("basic",) * 2 + ("bottleneck",) * 2))
  return chain([vgg], product(kinds, depths))
