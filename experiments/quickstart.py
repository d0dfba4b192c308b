"""Does a net train worse when it is deeper, and do shortcuts mend it? In minutes, on handwritten digits.

    python -m resjax.main --config experiments/quickstart.py

Plain and residual nets of 8, 20 and 44 layers on scikit-learn's 1,797 handwritten digits of 8x8 pixels.
"""

from resjax import config
from resjax.sweep import axis, product


def get_config(variant: str = ""):
  """Returns the paper's recipe, shortened and fitted to images of 8x8 pixels."""
  c = config.default()
  c.data.name = "digits"
  c.data.pad = 1  # a shift of four pixels would push a digit of eight out of its image
  c.data.mirror = False  # a mirrored 2 is no digit
  c.train.steps = 300
  c.train.batch_size = 64
  c.evaluation.every = 50
  c.evaluation.batch_size = 128
  c.responses.images = 256
  c.responses.batch_size = 128
  c.checkpoint.every = 100
  c.execution.log_every = 10
  return c


def sweep(variant: str = ""):
  """Returns three depths of each kind."""
  return product(axis("model.depth", (8, 20, 44)), axis("model.kind", ("residual", "plain")))
