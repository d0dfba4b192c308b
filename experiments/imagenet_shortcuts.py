"""Are projection shortcuts better than identity shortcuts on ImageNet? (options A, B and C, Table 3)

    python -m resjax.main --config experiments/imagenet_shortcuts.py --config.data.path=FOLDER
    python -m resjax.main --config experiments/imagenet_shortcuts.py:small --config.data.path=FOLDER

Residual networks of 34 layers with each option. The paper's 10-crop top-1/top-5 errors: A 25.03/7.76, B 24.52/7.46, C
24.19/7.40 %. `:tenth` shortens the schedule to 60,000 steps. `:small` is 18 layers on a folder of small images, such as
20 classes of Tiny ImageNet at 64 pixels, where random guessing has an error of 95 %.
"""

from resjax import config
from resjax.sweep import axis

VARIANTS = ("tenth", "small")


def get_config(variant: str = ""):
  """Returns the paper's recipe, a tenth of it, or 18 layers for 2,000 steps at 64 pixels."""
  c = config.small_images() if variant == "small" else config.imagenet(0.1 if variant == "tenth" else 1.0)
  if variant != "small":
    c.model.depth = 34
  return c


def sweep(variant: str = ""):
  """Returns the three options."""
  return axis("model.shortcut", ("A", "B", "C"))
