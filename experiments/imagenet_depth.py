"""What does depth do to a residual net on ImageNet? (Table 1, Tables 3 and 4)

    python -m resjax.main --config experiments/imagenet_depth.py --config.data.path=FOLDER
    python -m resjax.main --config experiments/imagenet_depth.py:small --config.data.path=FOLDER
    python -m resjax.summary --config experiments/imagenet_depth.py

Residual nets of 18 to 152 layers, option B, stride on the first 1x1. The paper's 10-crop top-1 errors: 27.88 % with 18
layers (option A), 24.52 % with 34, 22.85 % with 50, 21.75 % with 101 and 21.43 % with 152. `:small` is 18 and 34 layers
on a folder of small images, such as 20 classes of Tiny ImageNet at 64 pixels, where chance is 95 % error.
"""

from resjax import config
from resjax.sweep import axis, product, zipped

VARIANTS = ("small",)


def get_config(variant: str = ""):
  """Returns the paper's recipe; the small variant trains at 64 pixels for 2,000 steps."""
  c = config.default()
  c.model.family = "imagenet"
  c.data.name = "imagenet2012"
  c.model.depth = 18
  c.model.shortcut = "B"
  c.train.steps = 600_000
  c.train.batch_size = 256
  if variant == "small":
    c.data.name = "folder"
    c.data.image_size = 64
    c.data.resize = ()  # held whole; shifted by up to 8 pixels and mirrored
    c.data.pad = 8
    c.responses.images = 512
    c.train.steps = 2000
    c.train.batch_size = 128
    c.evaluation.every = 200
    c.checkpoint.every = 200
    c.execution.log_every = 20
  return c


def sweep(variant: str = ""):
  """Returns the nets of Table 1 from shallow to deep."""
  if variant == "small":
    return product(axis("model.depth", (18, 34)))
  blocks = ("basic", "basic", "bottleneck", "bottleneck", "bottleneck")
  return zipped(axis("model.depth", (18, 34, 50, 101, 152)), axis("model.block", blocks))
