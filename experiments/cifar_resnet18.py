"""What test error does the ResNet-18 used in most work on CIFAR-10 reach?

    python -m resjax.main --config experiments/cifar_resnet18.py
    python -m resjax.main --config experiments/cifar_resnet18.py:small

The network of Table 1 with 18 layers, its 7x7 stem replaced by a 3x3 layer without pooling: 64 to 512 filters,
projections where shapes change, 11,173,962 parameters, 14 times the multiply-adds of the paper's ResNet-20. The recipe
is that of DeVries and Taylor 2017 (arXiv 1708.04552) without cutout, 200 epochs with standard augmentation, which gave
them a test error of 4.72 % (mean of five runs). `:small` has a quarter of the filters, about as many multiply-adds per
step as ResNet-20, 800 steps and two seeds.
"""

from resjax import config
from resjax.sweep import axis

VARIANTS = ("small",)


def get_config(variant: str = ""):
  """Returns the recipe of DeVries and Taylor, or a short form of it."""
  c = config.default()
  c.model.family, c.model.depth, c.model.stem, c.model.shortcut = "imagenet", 18, "3x3", "B"
  c.data.normalize = "channel"
  c.train.nesterov, c.train.weight_decay = True, 5e-4
  c.train.drops, c.train.drop_factor = (0.3, 0.6, 0.8), 0.2
  c.train.steps = 200 * 50_000 // c.train.batch_size
  if variant == "small":
    c.model.width = 16
    c.train.steps = 800
    c.evaluation.every = c.checkpoint.every = 200
    c.execution.log_every = 20
  return c


def sweep(variant: str = ""):
  """Returns the seeds."""
  return axis("seed", range(2 if variant else 5))
