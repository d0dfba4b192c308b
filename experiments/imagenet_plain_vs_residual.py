"""Does depth hurt a plain net on ImageNet, and do shortcuts mend it? (Table 2, Fig. 4)

    python -m resjax.main --config experiments/imagenet_plain_vs_residual.py --config.data.path=FOLDER
    python -m resjax.main --config experiments/imagenet_plain_vs_residual.py:small --config.data.path=FOLDER

Plain and residual nets of 18 and 34 layers, option A, so that both have the same parameters. The paper's 10-crop top-1
errors: plain 27.94 and 28.54 %, residual 27.88 and 25.03 %. `:small` is the same on a folder of small images, such as
20 classes of Tiny ImageNet at 64 pixels, where chance is 95 % error.
"""

from resjax import config
from resjax.sweep import axis, product

VARIANTS = ("small",)


def get_config(variant: str = ""):
  """Returns the paper's recipe; the small variant trains for 2,000 steps."""
  c = config.default()
  c.model.family = "imagenet"
  c.data.name = "imagenet2012"
  c.model.depth = 18
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
  """Returns both kinds of both depths."""
  return product(axis("model.depth", (18, 34)), axis("model.kind", ("plain", "residual")))
