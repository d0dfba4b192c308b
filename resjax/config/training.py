"""Settings of the optimizer and the learning rate schedule."""

import dataclasses

from resjax.settings import FRACTION, NON_NEGATIVE, POSITIVE, Range, setting


@dataclasses.dataclass(frozen=True)
class Train:
  """Training (Sec. 3.4, 4.2): SGD with momentum, a learning rate schedule, a warm-up for deep residual networks."""

  steps: int = setting(64_000, "optimizer steps", allowed=POSITIVE, paper={"cifar": 64_000, "imagenet": 600_000})
  batch_size: int = setting(
    128, "images per step, over all devices", allowed=POSITIVE, paper={"cifar": 128, "imagenet": 256}
  )
  learning_rate: float = setting(0.1, "learning rate before the first drop", allowed=NON_NEGATIVE, paper=0.1)
  rate_scale: float = setting(
    0.0,
    "g: the learning rate before the first drop is learning_rate (L / 9)^g with L residual blocks, 9 in ResNet-20; the "
    "warm-up's rate is not scaled",
    allowed=Range(-4.0, 4.0),
    paper=0.0,
    later=True,
  )
  schedule: str = setting(
    "steps",
    "the learning rate drops at fixed steps, when the validation error stops falling, or along half a cosine to 0",
    allowed=("steps", "plateau", "cosine"),
    paper={"cifar": "steps", "imagenet": "plateau"},
  )
  drops: tuple[float, ...] = setting(
    (0.5, 0.75),
    "schedule steps: fractions of `steps` after which the learning rate drops (32k and 48k of 64k)",
    allowed=FRACTION,
    paper={"cifar": (0.5, 0.75)},
  )
  plateau_patience: int = setting(
    5, "schedule plateau: evaluations without a new best error before the learning rate drops", allowed=POSITIVE
  )
  plateau_gain: float = setting(
    0.001, "schedule plateau: decrease of the error (a fraction) that counts as a new best", allowed=Range(1e-6, 1.0)
  )
  drop_factor: float = setting(
    0.1, "factor that each drop multiplies the learning rate by", allowed=FRACTION, paper=0.1
  )
  optimizer: str = setting(
    "sgd",
    "sgd: with momentum; adagrad: the gradient over the root of the sum of its squares so far, without momentum",
    allowed=("sgd", "adagrad"),
    paper="sgd",
    later=True,
  )
  momentum: float = setting(0.9, "momentum of SGD", allowed=FRACTION, paper=0.9)
  nesterov: bool = setting(False, "use Nesterov momentum", paper=False)
  weight_decay: float = setting(
    1e-4, "coefficient of the weights that is added to the gradient", allowed=NON_NEGATIVE, paper=1e-4
  )
  decay_norm_and_bias: bool = setting(True, "apply weight decay to batch norm parameters and biases, too")
  warmup: str = setting(
    "auto",
    "start at `warmup_rate`; auto: for residual CIFAR networks with 110 layers or more",
    allowed=("auto", "on", "off"),
    paper="auto",
  )
  warmup_rate: float = setting(0.01, "learning rate during the warm-up", allowed=NON_NEGATIVE, paper=0.01)
  warmup_error: float = setting(
    0.8,
    "the warm-up ends when the mean training error over its window falls below this fraction",
    allowed=FRACTION,
    paper=0.8,
  )
  warmup_window: int = setting(
    100, "steps in that window; one batch of 128 has a standard error of 3.5 points", allowed=POSITIVE
  )
