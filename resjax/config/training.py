"""Settings of the optimizer and the learning rate schedule."""

import dataclasses

from resjax.config.model import Model
from resjax.settings import FRACTION, NON_NEGATIVE, POSITIVE, Range, setting

# Settings that are arguments of the compiled training step, so that runs which differ in them can share a program.
HYPERPARAMETERS = ("learning_rate", "drop_factor", "momentum", "weight_decay", "warmup_rate", "warmup_error")
WARMUP_DEPTH = 110  # the paper warms up the residual net of 110 layers; shallower ones start at the full rate


@dataclasses.dataclass(frozen=True)
class Train:
  """Training (Sec. 3.4, 4.2): optimizer, learning rate schedule, and warm-up of deep residual networks."""

  steps: int = setting(64_000, "optimizer steps", allowed=POSITIVE, paper={"cifar": 64_000, "imagenet": 600_000})
  batch_size: int = setting(
    128, "images per step, summed over all devices", allowed=POSITIVE, paper={"cifar": 128, "imagenet": 256}
  )
  learning_rate: float = setting(0.1, "learning rate before the first drop", allowed=NON_NEGATIVE, paper=0.1)
  rate_scale: float = setting(
    0.0,
    "exponent g: the learning rate before the first drop is learning_rate (L / 9)^g, where L is the number of blocks "
    "of the network, 9 in ResNet-20; warmup_rate is not scaled",
    allowed=Range(-4.0, 4.0),
    paper=0.0,
    later=True,
  )
  schedule: str = setting(
    "steps",
    "learning rate schedule. steps: drops at fixed steps; plateau: drops when the validation error (or else the test "
    "error) stops falling; cosine: half a cosine to 0",
    allowed=("steps", "plateau", "cosine"),
    paper={"cifar": "steps", "imagenet": "plateau"},
  )
  drops: tuple[float, ...] = setting(
    (0.5, 0.75),
    "schedule=steps: fractions of train.steps after which the learning rate drops (32k and 48k of 64k)",
    allowed=FRACTION,
    paper={"cifar": (0.5, 0.75)},
  )
  plateau_patience: int = setting(
    5, "schedule=plateau: evaluations without a new best error before the learning rate drops", allowed=POSITIVE
  )
  plateau_gain: float = setting(
    0.001,
    "schedule=plateau: decrease of the error (a fraction) that counts as a new best error",
    allowed=Range(1e-6, 1.0),
  )
  drop_factor: float = setting(
    0.1, "factor that each drop multiplies the learning rate by", allowed=FRACTION, paper=0.1
  )
  optimizer: str = setting(
    "sgd",
    "sgd: SGD with momentum; adagrad: the gradient divided by the root of the sum of its squares so far, without "
    "momentum",
    allowed=("sgd", "adagrad"),
    paper="sgd",
    later=True,
  )
  momentum: float = setting(0.9, "momentum of SGD", allowed=FRACTION, paper=0.9)
  nesterov: bool = setting(False, "use Nesterov momentum", paper=False)
  weight_decay: float = setting(
    1e-4, "factor of the weights in the term that is added to their gradient", allowed=NON_NEGATIVE, paper=1e-4
  )
  decay_norm_and_bias: bool = setting(
    True, "apply weight decay also to the scales and biases of norms and to other biases"
  )
  warmup: str = setting(
    "auto",
    "whether training starts at warmup_rate (on), or not (off); auto: on for residual CIFAR networks of 110 or more "
    "layers",
    allowed=("auto", "on", "off"),
    paper="auto",
  )
  warmup_rate: float = setting(0.01, "learning rate during the warm-up", allowed=NON_NEGATIVE, paper=0.01)
  warmup_error: float = setting(
    0.8,
    "error (a fraction) below which the warm-up ends: the mean training error over the last warmup_window steps",
    allowed=FRACTION,
    paper=0.8,
  )
  warmup_window: int = setting(
    100,
    "number of steps over which the training error is averaged; that of one batch of 128 has a standard error of 3.5 "
    "percentage points",
    allowed=POSITIVE,
  )


def uses_warmup(model: Model, train: Train) -> bool:
  """Returns whether a run has a warm-up; with `auto`, residual CIFAR networks of 110 or more layers do (Sec. 4.2)."""
  deep = model.family == "cifar" and model.kind == "residual" and model.depth >= WARMUP_DEPTH
  return train.warmup == "on" or (train.warmup == "auto" and deep)
