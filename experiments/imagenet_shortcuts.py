"""Do projection shortcuts do better than identity ones on ImageNet? (options A, B and C, Table 3)

    python -m resjax.main --config experiments/imagenet_shortcuts.py --config.data.path=FOLDER
    python -m resjax.main --config experiments/imagenet_shortcuts.py:small --config.data.path=FOLDER

Residual nets of 34 layers with each option. The paper's 10-crop top-1/top-5 errors: A 25.03/7.76, B 24.52/7.46, C
24.19/7.40 %. `:small` is 18 layers on a folder of small images, such as 20 classes of Tiny ImageNet at 64 pixels, where
chance is 95 % error.
"""

from resjax import config
from resjax.sweep import axis

VARIANTS = ("small",)


def get_config(variant: str = ""):
  """Returns the paper's recipe; the small variant is 18 layers for 2,000 steps."""
  c = config.default()
  c.model.family = "imagenet"
  c.data.name = "imagenet2012"
  c.model.depth = 34
  c.train.steps = 600_000
  c.train.batch_size = 256
  if variant == "small":
    c.data.name = "folder"
    c.data.image_size = 64
    c.data.resize = ()  # held whole; shifted by up to 8 pixels and mirrored
    c.data.pad = 8
    c.responses.images = 512
    c.model.depth = 18
    c.train.steps = 2000
    c.train.batch_size = 128
    c.evaluation.every = 200
    c.checkpoint.every = 200
    c.execution.log_every = 20
  return c


def sweep(variant: str = ""):
  """Returns the three options."""
  return axis("model.shortcut", ("A", "B", "C"))
