"""Do very deep fully connected networks train if the gain of each branch starts at zero? (ReZero)

    python -m resjax.main --config experiments/rezero_mlp.py --config.data.path=FOLDER
    python -m resjax.main --config experiments/rezero_mlp.py:small --config.data.path=FOLDER

Networks of 64 fully connected layers of width 256 on CIFAR-10, Adagrad at a rate of 0.01, ten epochs: plain, plain with
layer norm, residual, and residual with ReZero's gains (Bachlechner et al. 2020). Published training losses at epoch 10:
2.02, 2.02, 1.87 and 0.52. The authors do not give the batch size and the normalization of the images; blocks have two
layers here. `:small` is one epoch and takes minutes per network on two CPU cores.
"""

from resjax import config
from resjax.sweep import axis, zipped

VARIANTS = ("small",)
EPOCH = 391  # steps of 128 images


def get_config(variant: str = ""):
  """Returns ReZero's recipe, for ten epochs or one; images as they are, without crops and mirrors."""
  c = config.default()
  c.model.family, c.model.block = "mlp", "dense"
  c.model.depth, c.model.width, c.model.norm = 64, 256, "none"
  c.data.pad, c.data.mirror = 0, False
  c.train.optimizer, c.train.learning_rate = "adagrad", 0.01
  c.train.drops, c.train.weight_decay = (), 0.0
  c.train.steps = EPOCH * (1 if variant else 10)
  c.evaluation.every = c.checkpoint.every = EPOCH
  c.execution.log_every = EPOCH if not variant else 23
  return c


def sweep(variant: str = ""):
  """Returns the four networks."""
  kinds = axis("model.kind", ("plain", "plain", "residual", "residual"))
  norms = axis("model.norm", ("none", "layer", "none", "none"))
  return zipped(kinds, norms, axis("model.shortcut", ("A", "A", "A", "rezero")))
