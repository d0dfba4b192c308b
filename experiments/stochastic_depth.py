"""Do very deep networks train better when each minibatch uses a random subset of the blocks? (Huang et al. 2016)

    python -m resjax.main --config experiments/stochastic_depth.py
    python -m resjax.main --config experiments/stochastic_depth.py:1202
    python -m resjax.main --config experiments/stochastic_depth.py:small --config.data.path=FOLDER

Residual networks of 110 and 1202 layers on CIFAR-10 with constant and with stochastic depth, where the survival
probability decreases linearly to 1/2 at the last block. Both depths have the published recipe of 110 layers, 500 epochs
of 45,000 images with Nesterov momentum. `:1202` is 1202 layers with their own published recipe, 300 epochs. The
published warm-ups, none at 110 layers and 10 epochs at 1202, are no settings here: from 110 layers on, the warm-up ends
when the training error falls below 80 %, and the report names the difference.

Published test errors at the epoch of the best validation error, with constant and with stochastic depth: 6.41 and
5.25 % at 110 layers, 6.67 and 4.91 % at 1202 layers. `:small` is 20 and 32 layers with two seeds and 800 steps, about
an hour on two CPU cores, which is too short for regularization to help. `:digits` is 14 and 32 layers on 8x8 digits and
takes minutes.
"""

from resjax import config
from resjax.sweep import axis, product

VARIANTS = ("1202", "small", "digits")
TRAINING_IMAGES = 45_000


def get_config(variant: str = ""):
  """Returns the recipe of Huang et al., or a short one of the paper's with Nesterov momentum."""
  c = config.digits() if variant == "digits" else config.default()
  c.train.nesterov = True
  if variant in ("", "1202"):
    epochs = 300 if variant else 500
    c.data.validation_images = 5000
    c.train.steps = round(epochs * TRAINING_IMAGES / c.train.batch_size)
    c.evaluation.every = c.checkpoint.every = round(TRAINING_IMAGES / c.train.batch_size)
    c.checkpoint.keep_best = True
  if variant == "small":
    c.train.steps = 800
    c.evaluation.every = c.checkpoint.every = 200
    c.execution.log_every = 20
  if variant == "digits":
    c.train.learning_rate = 0.02
  return c


def sweep(variant: str = ""):
  """Returns both depths with constant and with stochastic depth, all of one seed before the next seed."""
  depths = {"": (110, 1202), "1202": (1202,), "small": (20, 32), "digits": (14, 32)}[variant]
  seeds = range(2) if variant in ("small", "digits") else range(1)
  return product(axis("seed", seeds), axis("model.depth", depths), axis("model.survival", (1.0, 0.5)))
