"""Do deeper plain networks train worse, and do shortcuts prevent it? In minutes, on handwritten digits.

    python -m resjax.main --config experiments/quickstart.py

Plain and residual networks of 8, 20 and 44 layers on scikit-learn's 1,797 handwritten digits of 8x8 pixels.
"""

from resjax import config
from resjax.sweep import axis, product


def get_config(variant: str = ""):
  """Returns the recipe for digits, at a fifth of the rate: at the whole one 44 layers do not settle in 300 steps."""
  c = config.digits()
  c.train.learning_rate = 0.02
  return c


def sweep(variant: str = ""):
  """Returns three depths of each kind."""
  return product(axis("model.depth", (8, 20, 44)), axis("model.kind", ("residual", "plain")))
