"""Settings of the solver."""

import dataclasses

from resjax.settings import FRACTION, NON_NEGATIVE, POSITIVE, Range, setting


@dataclasses.dataclass(frozen=True)
class Train:
  """The solver (Sec. 3.4, 4.2): SGD with momentum, a rate that drops, a warm-up for deep residual nets."""

  steps: int = setting(64_000, "optimizer steps", allowed=POSITIVE, paper={"cifar": 64_000, "imagenet": 600_000})
  batch_size: int = setting(
    128, "images a step, over all devices", allowed=POSITIVE, paper={"cifar": 128, "imagenet": 256}
  )
  learning_rate: float = setting(0.1, "rate before the first drop", allowed=NON_NEGATIVE, paper=0.1)
  schedule: str = setting(
    "steps",
    "the rate drops at given steps, when the validation error stops falling, or as half a cosine to 0",
    allowed=("steps", "plateau", "cosine"),
    paper={"cifar": "steps", "imagenet": "plateau"},
  )
  drops: tuple[float, ...] = setting(
    (0.5, 0.75),
    "of schedule steps: shares of `steps` after which the rate drops (32k and 48k of 64k)",
    allowed=FRACTION,
    paper={"cifar": (0.5, 0.75)},
  )
  plateau_patience: int = setting(
    5, "of schedule plateau: evaluations without a new best error before the rate drops", allowed=POSITIVE
  )
  plateau_gain: float = setting(
    0.001, "of schedule plateau: by how much a new best error must be lower, a fraction", allowed=Range(1e-6, 1.0)
  )
  drop_factor: float = setting(0.1, "what each drop multiplies the rate with", allowed=FRACTION, paper=0.1)
  momentum: float = setting(0.9, "of SGD", allowed=FRACTION, paper=0.9)
  nesterov: bool = setting(False, "Nesterov's momentum", paper=False)
  weight_decay: float = setting(1e-4, "times the weights, added to the gradient", allowed=NON_NEGATIVE, paper=1e-4)
  decay_norm_and_bias: bool = setting(True, "weight decay on norm scales and on biases, too")
  warmup: str = setting(
    "auto",
    "start at `warmup_rate`; auto: residual CIFAR nets of 110 layers or more",
    allowed=("auto", "on", "off"),
    paper="auto",
  )
  warmup_rate: float = setting(0.01, "rate during the warm-up", allowed=NON_NEGATIVE, paper=0.01)
  warmup_error: float = setting(
    0.8, "the warm-up ends when the mean training error of its window is below", allowed=FRACTION, paper=0.8
  )
  warmup_window: int = setting(
    100, "steps of that window; one batch of 128 has an error of 3.5 points", allowed=POSITIVE
  )
