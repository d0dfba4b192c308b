"""How well do the backbones of the detection study classify?

    python -m resjax.main --config experiments/detection_backbones.py --config.data.path=FOLDER

Narrow plain and residual networks of 10, 18 and 34 layers, the backbones of `experiments/detection_depth.py:small`.
They are trained for 1,000 steps on a folder of small images, such as 20 classes of Tiny ImageNet at 64 pixels, where
random guessing has an error of 95 %.
"""

from resjax import config
from resjax.sweep import axis, chain, product

SHALLOW = {"model.depth": 10, "model.blocks": (1, 1, 1, 1)}  # a depth that Table 1 does not have


def get_config(variant: str = ""):
  """Returns the recipe for small images with half as many filters and half as many steps, along a cosine."""
  c = config.small_images()
  c.model.width = 32
  c.model.shortcut = "B"
  c.train.schedule, c.train.learning_rate = "cosine", 0.05
  c.train.steps = 1_000
  return c


def sweep(variant: str = ""):
  """Returns residual and plain networks of three depths, two seeds each."""
  depths = chain([SHALLOW], axis("model.depth", (18, 34)))
  return product(axis("seed", (0, 1)), axis("model.kind", ("residual", "plain")), depths)
