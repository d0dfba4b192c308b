"""Do gated shortcuts train deep networks as well as identity shortcuts? (the Highway networks of Table 6)

    python -m resjax.main --config experiments/cifar_highway.py

Highway-19 and -32 on CIFAR-10: single 3x3 layers with gated shortcuts, without normalization. The paper does not give
their widths; those used here result in its 2.3M and 1.25M parameters to within 3 %. The paper's test errors are 7.54
(7.72 +- 0.16) and 8.80 %, from the recipe of the Highway authors; the recipe here is that of the residual networks, at
a tenth of the learning rate.
"""

from resjax import config
from resjax.sweep import axis, zipped


def get_config(variant: str = ""):
  """Returns the residual nets' recipe at a tenth of their rate, for want of norms."""
  c = config.default()
  c.model.depth = 19
  c.model.blocks = (5, 5, 7)
  c.model.width = 32
  c.model.block = "single"
  c.model.shortcut = "gated"
  c.model.norm = "none"
  c.train.learning_rate = 0.01
  return c


def sweep(variant: str = ""):
  """Returns both depths."""
  depths = axis("model.depth", (19, 32))
  return zipped(depths, axis("model.blocks", ((5, 5, 7), (11, 11, 8))), axis("model.width", (32, 20)))
