"""Do very deep networks train better when each minibatch uses a random subset of the blocks? (Huang et al. 2016)

    python -m resjax.main --config experiments/stochastic_depth.py
    python -m resjax.main --config experiments/stochastic_depth.py:small --config.data.path=FOLDER

Residual networks of 110 and 1202 layers on CIFAR-10 with constant and with stochastic depth, where the survival
probability decreases linearly to 1/2 at the last block. The recipe is 500 epochs of 45,000 images with Nesterov
momentum. Published test errors at the epoch of the best validation error: 6.41 % (constant) and 5.25 % at 110 layers,
4.91 % at 1202 layers with stochastic depth. `:small` is 20 and 32 layers with two seeds and 800 steps, about an hour on
two CPU cores, which is too short for regularization to help. `:digits` is 14 and 32 layers on 8x8 digits and takes
minutes.
"""

from resjax import config
from resjax.sweep import axis, product

VARIANTS = ("small", "digits")
TRAINING_IMAGES, EPOCHS = 45_000, 500


def get_config(variant: str = ""):
  """Returns the recipe of Huang et al., or a short one of the paper's with Nesterov momentum."""
  c = config.digits() if variant == "digits" else config.default()
  c.train.nesterov = True
  if not variant:
    c.data.validation_images = 5000
    c.train.steps = round(EPOCHS * TRAINING_IMAGES / c.train.batch_size)
    c.evaluation.every = round(TRAINING_IMAGES / c.train.batch_size)
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
  depths = {"": (110, 1202), "small": (20, 32), "digits": (14, 32)}[variant]
  seeds = range(2) if variant else range(1)
  return product(axis("seed", seeds), axis("model.depth", depths), axis("model.survival", (1.0, 0.5)))
