"""Are projection shortcuts better than identity shortcuts? (options A, B and C of Sec. 3.3 and 4.1, on CIFAR-10)

    python -m resjax.main --config experiments/cifar_shortcuts.py

Residual networks of 20, 56 and 110 layers on CIFAR-10 with each option and three seeds. The paper compares the options
only on ImageNet, where the differences are small (top-1 errors 25.03, 24.52 and 24.19 % at 34 layers, Table 3).
"""

from resjax import config
from resjax.sweep import axis, product


def get_config(variant: str = ""):
  """Returns the paper's recipe."""
  return config.default()


def sweep(variant: str = ""):
  """Returns the runs, all nets of one seed before the next seed."""
  return product(axis("seed", range(3)), axis("model.depth", (20, 56, 110)), axis("model.shortcut", ("A", "B", "C")))
