"""How does the best learning rate change with depth, and which parametrization keeps it? (SGD: L^(2a-1) expected)

    python -m resjax.main --config experiments/learning_rate_depth.py:digits
    python -m resjax.main --config experiments/learning_rate_depth.py:small --config.data.path=FOLDER
    python -m resjax.main --config experiments/learning_rate_depth.py:short --config.data.path=FOLDER
    python -m resjax.main --config experiments/learning_rate_depth.py --config.data.path=FOLDER

A sweep over depth, parametrization, learning rate (in factors of sqrt(2)) and seed, with a constant learning rate. In
networks of L blocks without norms, the branches are multiplied by L^-a, or the initial variance of their last layer is
divided by L. Networks with norms are as in the paper or pre-activation. All rates and seeds of a network are trained in
one program, and the report fits the exponent of the best rate. The complete sweep is 20 epochs of CIFAR-10 (as Bordelon
et al. 2024) at 8 to 110 layers. `:short` is 1,000 steps, 1/64 of the paper's schedule, at 8 to 32 layers, for a GPU or
a day and a half on two CPU cores. `:small` is as many steps of 32 images at half the width, without the networks with
norms and with learning rates in factors of two, in about an hour on two CPU cores. `:digits` is 6 to 62 dense layers on
8x8 digits, in about half an hour on two CPU cores.
"""

from resjax import config
from resjax.sweep import axis, chain, product

VARIANTS = ("digits", "small", "short")
DEPTHS = {"": (8, 20, 56, 110), "short": (8, 14, 20, 32), "small": (8, 14, 20, 32), "digits": (6, 14, 30, 62)}
STEPS = {"": 7820, "short": 1000, "small": 1000, "digits": 69}
SEEDS = {"": 3, "short": 1, "small": 1, "digits": 3}
BARE = {"model.norm": "none", "model.preactivation": True}
PARAMETRIZATIONS = (  # with the lowest and the highest learning rate as powers of two
  ({**BARE}, -11, -1),
  ({**BARE, "model.branch_scale": 0.5}, -6, 0),
  ({**BARE, "model.branch_scale": 1.0}, -5, 1),
  ({**BARE, "model.initialization": "depth"}, -8, -1),
  ({"model.norm": "batch"}, -7, 0),
  ({"model.preactivation": True}, -7, 0),
)


def get_config(variant: str = ""):
  """Returns the paper's recipe at a constant rate, with evaluation and checkpoint after the last step only."""
  c = config.digits() if variant == "digits" else config.default()
  c.train.steps = STEPS[variant]
  c.train.drops = ()
  c.train.warmup = "off"
  c.evaluation.every = c.checkpoint.every = 0
  c.responses.final = False
  c.execution.runs_per_program = 100
  c.execution.log_every = 23 if variant == "digits" else 100
  if variant == "digits":
    c.model.family, c.model.block, c.model.width, c.model.depth = "mlp", "dense", 64, 6
    c.data.pad = 0
  if variant == "small":
    c.model.width, c.train.batch_size = 8, 32
  return c


def sweep(variant: str = ""):
  """Returns all rates and seeds of one parametrization and depth before those of the next."""
  depths, seeds = axis("model.depth", DEPTHS[variant]), axis("seed", range(SEEDS[variant]))
  small = variant == "small"
  return chain(
    *(
      product([settings], depths, axis("train.learning_rate", rates(low, high, 1 if small else 2)), seeds)
      for settings, low, high in PARAMETRIZATIONS
      if settings.get("model.norm") == "none" or not small
    )
  )


def rates(low: int, high: int, per_octave: int) -> list[float]:
  """Returns learning rates from 2^low to 2^high, evenly spaced in the logarithm, with four digits as in ids."""
  return [float(f"{2 ** (low + index / per_octave):.4g}") for index in range((high - low) * per_octave + 1)]
