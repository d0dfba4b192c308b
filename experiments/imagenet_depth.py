"""What does depth do to a residual network on ImageNet? (Table 1, Tables 3 and 4)

    python -m resjax.main --config experiments/imagenet_depth.py --config.data.path=FOLDER
    python -m resjax.main --config experiments/imagenet_depth.py:small --config.data.path=FOLDER
    python -m resjax.summary --config experiments/imagenet_depth.py

Residual networks of 18 to 152 layers, option B, stride on the first 1x1. The paper's 10-crop top-1 errors are 27.88 %
with 18 layers (option A), 24.52 % with 34, 22.85 % with 50, 21.75 % with 101 and 21.43 % with 152. `:tenth` shortens
the schedule to 60,000 steps. `:small` is 18 and 34 layers on a folder of small images, such as 20 classes of Tiny
ImageNet at 64 pixels, where random guessing has an error of 95 %.
"""

from resjax import config
from resjax.sweep import axis, product, zipped

VARIANTS = ("tenth", "small")


def get_config(variant: str = ""):
  """Returns the paper's recipe, a tenth of it, or 2,000 steps at 64 pixels."""
  c = config.small_images() if variant == "small" else config.imagenet(0.1 if variant == "tenth" else 1.0)
  c.model.shortcut = "B"
  return c


def sweep(variant: str = ""):
  """Returns the nets of Table 1 from shallow to deep."""
  if variant == "small":
    return product(axis("model.depth", (18, 34)))
  blocks = ("basic", "basic", "bottleneck", "bottleneck", "bottleneck")
  return zipped(axis("model.depth", (18, 34, 50, 101, 152)), axis("model.block", blocks))
