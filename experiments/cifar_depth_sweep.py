"""What does depth do to a net, with and without shortcuts? (Fig. 6, Table 6 and Fig. 7)

    python -m resjax.main --config experiments/cifar_depth_sweep.py
    python -m resjax.main --config experiments/cifar_depth_sweep.py:mini --config.data.path=FOLDER

Residual nets of 20 to 1202 layers and plain ones of 20 to 110 on CIFAR-10, five seeds, the paper's whole schedule. The
paper's test errors: 8.75, 7.51, 7.17, 6.97, 6.61 and 7.93 % for residual 20, 32, 44, 56, 110 and 1202; plain nets get
worse with depth. `:mini` is depth 20 and 44, one seed, shortened to about 45 minutes on two CPU cores; `:short` depth
20, 32 and 44, two seeds, a fortieth of the schedule, some five hours.
"""

from resjax import config
from resjax.sweep import axis, chain, product

VARIANTS = ("mini", "short")
_STEPS = {"mini": 800, "short": 1600}


def get_config(variant: str = ""):
  """Returns the paper's recipe; the variants end after fewer steps, with the same two drops in proportion."""
  c = config.default()
  if variant:
    c.train.steps = _STEPS[variant]
    c.evaluation.every = 200
    c.checkpoint.every = 200
    c.execution.log_every = 20
  return c


def sweep(variant: str = ""):
  """Returns the runs, all depths of one seed before the next seed."""
  kinds = axis("model.kind", ("residual", "plain"))
  if variant == "mini":
    return product(axis("model.depth", (20, 44)), kinds)
  if variant == "short":
    return product(axis("seed", range(2)), axis("model.depth", (20, 44, 32)), kinds)
  residual = product(axis("model.kind", ("residual",)), axis("model.depth", (20, 32, 44, 56, 110, 1202)))
  plain = product(axis("model.kind", ("plain",)), axis("model.depth", (20, 32, 44, 56, 110)))
  return product(axis("seed", range(5)), chain(residual, plain))
