"""Do projection shortcuts do better than identity ones? (options A, B and C of Sec. 3.3 and 4.1, at CIFAR size)

    python -m resjax.main --config experiments/cifar_shortcuts.py

Residual nets of 20, 56 and 110 layers on CIFAR-10 with each option, three seeds. The paper compares the options on
ImageNet only (34 layers: top-1 error 25.03, 24.52 and 24.19 %, Table 3) and finds small differences.
"""

from resjax import config
from resjax.sweep import axis, product


def get_config(variant: str = ""):
  """Returns the paper's recipe."""
  return config.default()


def sweep(variant: str = ""):
  """Returns the runs, all nets of one seed before the next seed."""
  return product(axis("seed", range(3)), axis("model.depth", (20, 56, 110)), axis("model.shortcut", ("A", "B", "C")))
