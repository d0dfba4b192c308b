"""Do deeper plain networks have a higher error on ImageNet, and do shortcuts prevent it? (Table 2, Fig. 4)

    python -m resjax.main --config experiments/imagenet_plain_vs_residual.py --config.data.path=FOLDER
    python -m resjax.main --config experiments/imagenet_plain_vs_residual.py:small --config.data.path=FOLDER

Plain and residual networks of 18 and 34 layers, option A, so that both have the same parameters. The paper's 10-crop
top-1 errors are 27.94 and 28.54 % for plain and 27.88 and 25.03 % for residual networks. `:tenth` shortens the schedule
to 60,000 steps. `:small` is on a folder of small images, such as 20 classes of Tiny ImageNet at 64 pixels, where random
guessing has an error of 95 %.
"""

from resjax import config
from resjax.sweep import axis, product

VARIANTS = ("tenth", "small")


def get_config(variant: str = ""):
  """Returns the paper's recipe, a tenth of it, or 2,000 steps at 64 pixels."""
  return config.small_images() if variant == "small" else config.imagenet(0.1 if variant == "tenth" else 1.0)


def sweep(variant: str = ""):
  """Returns both kinds of both depths."""
  return product(axis("model.depth", (18, 34)), axis("model.kind", ("plain", "residual")))
