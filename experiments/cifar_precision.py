"""Does bfloat16 cost accuracy? Activations and convolutions in 8 bits of precision against float32, by depth.

    python -m resjax.main --config experiments/cifar_precision.py
    python -m resjax.main --config experiments/cifar_precision.py:digits

Parameters, statistics and loss are float32 either way. `:digits` is depth 8 and 20 on handwritten digits of 8x8 pixels,
300 steps, three seeds: minutes on two CPU cores. The paper used float32; the test errors to compare are its Table 6's.
"""

from experiments import quickstart
from resjax import config
from resjax.sweep import axis, product

VARIANTS = ("digits",)


def get_config(variant: str = ""):
  """Returns the paper's recipe, or the quickstart's."""
  return quickstart.get_config() if variant == "digits" else config.default()


def sweep(variant: str = ""):
  """Returns the runs, both precisions of a net next to each other."""
  depths = (8, 20) if variant == "digits" else (20, 56, 110)
  return product(axis("seed", range(3)), axis("model.depth", depths), axis("model.precision", ("float32", "bfloat16")))
