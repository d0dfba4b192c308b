"""Do plain networks still get worse with depth if their initialization preserves signals? (plain-56 against plain-20)

    python -m resjax.main --config experiments/plain_depth.py:digits
    python -m resjax.main --config experiments/plain_depth.py --config.data.path=FOLDER

Plain networks of 20, 56, 110 and 1202 layers, with two seeds: as in the paper; without norms; and without norms but
with kernels that are orthogonal at their center and zero elsewhere, with the tailored leaky ReLU (Zhang et al. 2022) or
with tanh at criticality (Xiao et al. 2018, who trained 10,000 layers). Residual networks serve as the reference.
`:digits` is 20, 56 and 110 layers of half the width on 8x8 digits, in about 5 minutes on two CPU cores. `:short` is
2,000 steps at a quarter of the batch size on CIFAR-10 at 20 and 56 layers.
"""

from resjax import config
from resjax.sweep import Point, axis, chain, product

VARIANTS = ("digits", "short")
DEPTHS = {"": (20, 56, 110, 1202), "digits": (20, 56, 110), "short": (20, 56)}
STEPS = {"digits": 150, "short": 2000}
RATES = {"": (0.1, 0.01), "digits": (0.02, 0.02), "short": (0.025, 0.01)}  # with and without norms
TAILORED_RATES = {"": 0.01, "digits": 0.02, "short": 0.003}  # with 0.01, narrow networks of 20 layers stayed at chance


def get_config(variant: str = ""):
  """Returns the paper's recipe; the variants end after fewer steps, with the same two drops in proportion."""
  c = config.digits() if variant == "digits" else config.default()
  c.model.kind = "plain"
  c.train.learning_rate = RATES[variant][0]
  if variant:
    c.train.steps = STEPS[variant]
    c.evaluation.every = c.checkpoint.every = c.train.steps // 2
  if variant == "digits":
    c.model.width = 8
    c.execution.runs_per_program = 2
  if variant == "short":
    c.train.batch_size = 32
    c.execution.log_every = 50
  return c


def sweep(variant: str = ""):
  """Returns the runs, all of one depth before the next."""
  bare = {"model.norm": "none", "train.learning_rate": RATES[variant][1]}
  delta = {**bare, "model.initialization": "delta"}
  starts: list[Point] = [
    {"model.kind": "plain"},
    bare,
    {**delta, "model.activation": "tailored", "train.learning_rate": TAILORED_RATES[variant]},
    {**delta, "model.activation": "tanh", "train.learning_rate": 0.01, "train.momentum": 0.95},
  ]
  return product(
    axis("model.depth", DEPTHS[variant]), chain(starts, axis("model.kind", ("residual",))), axis("seed", range(2))
  )
