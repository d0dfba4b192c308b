"""Does bfloat16 cost accuracy? Activations and convolutions with 8 significant bits against float32, by depth.

    python -m resjax.main --config experiments/cifar_precision.py

Parameters, batch statistics and loss are float32 in both cases. The paper used float32; its test errors are 8.75, 6.97
and 6.61 % at 20, 56 and 110 layers. A version on digits takes minutes:
`--config experiments/quickstart.py --config.model.precision=bfloat16`.
"""

from resjax import config
from resjax.sweep import axis, product


def get_config(variant: str = ""):
  """Returns the paper's recipe."""
  return config.default()


def sweep(variant: str = ""):
  """Returns the runs, both precisions of a net next to each other."""
  precision = axis("model.precision", ("float32", "bfloat16"))
  return product(axis("seed", range(3)), axis("model.depth", (20, 56, 110)), precision)
