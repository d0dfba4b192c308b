"""What does each common variation of the recipe do to the error, one at a time?

    python -m resjax.main --config experiments/pitfalls.py --config.data.path=FOLDER

Residual networks of 8 layers on CIFAR-10 with three seeds. The reference is the paper's recipe with a proportionally
shortened schedule. Each variant changes one thing: `SAME` padding, zero-initialized scale of the last norm of a block,
weight decay on kernels only, Nesterov momentum, running statistics with momentum 0.99, training on 45,000 images, or,
as on the paper's two GPUs, batch statistics over 64 images instead of the whole batch. `:digits` is the same on 8x8
digits and takes minutes.
"""

from resjax import config
from resjax.sweep import axis, chain, product

VARIANTS = ("digits",)


def get_config(variant: str = ""):
  """Returns the recipe for digits, or the paper's, ended after 800 steps with the same two drops in proportion."""
  c = config.digits() if variant == "digits" else config.default()
  c.model.depth = 8
  if variant != "digits":
    c.train.steps = 800
    c.evaluation.every = c.checkpoint.every = 200
    c.execution.log_every = 20
  return c


def sweep(variant: str = ""):
  """Returns the recipe and its variations, all of one seed before the next seed."""
  recipes = chain(
    axis("model.depth", (8,)),
    axis("model.padding", ("same",)),
    axis("model.zero_init_scale", (True,)),
    axis("train.decay_norm_and_bias", (False,)),
    axis("train.nesterov", (True,)),
    axis("model.norm_momentum", (0.99,)),
    axis("data.validation_images", (200 if variant == "digits" else 5000,)),
    axis("model.norm_images", (32 if variant == "digits" else 64,)),
  )
  return product(axis("seed", range(3)), recipes)
