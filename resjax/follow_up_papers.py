"""Results published in papers that build on the networks of He et al. 2015, with the settings of each result.

Errors are fractions, losses are in nats. The network and the training recipe of a result are dotted settings; `NETWORK`
and `RECIPE` hold the values of all settings that a result does not list.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

# What a published value measures.
LAST, AT_BEST_VALIDATION = "test error", "test error at the best validation error"
LOSS_AT_EPOCH_10 = "training loss at epoch 10"

MEAN, MEDIAN, ONE_RUN = "mean", "median", "one run"  # what a published value is of the runs

WARMUP_RATE = 0.01  # learning rate of every warm-up in these papers

NETWORK: dict[str, Any] = {
  "model.family": "cifar",
  "model.kind": "residual",
  "model.depth": 110,
  "model.blocks": [],
  "model.block": "basic",
  "model.width": 0,
  "model.stem": "auto",
  "model.shortcut": "A",
  "model.gate_bias": -6.0,
  "model.preactivation": False,
  "model.norm": "batch",
  "model.activation": "relu",
  "model.zero_init_scale": False,
  "model.branch_scale": 0.0,
  "model.initialization": "he",
  "model.survival": 1.0,
}
RECIPE: dict[str, Any] = {
  "data.name": "cifar10",
  "data.validation_images": 0,
  "data.pad": 4,
  "data.mirror": True,
  "train.steps": 64_000,
  "train.batch_size": 128,
  "train.learning_rate": 0.1,
  "train.schedule": "steps",
  "train.drops": [0.5, 0.75],
  "train.drop_factor": 0.1,
  "train.optimizer": "sgd",
  "train.momentum": 0.9,
  "train.nesterov": False,
  "train.weight_decay": 1e-4,
}


@dataclasses.dataclass(frozen=True)
class PublishedResult:
  """A result of another paper.

  Attributes:
    paper: Authors and year.
    place: Table, figure or section.
    network: Settings of the network that differ from `NETWORK`.
    recipe: Settings of data and training that differ from `RECIPE`.
    measure: Measured quantity, one of the constants above.
    value: Published number; None where the paper reports that training failed.
    statistic: `MEAN` or `MEDIAN` of the runs that the number is, or `ONE_RUN`.
    spread: Standard deviation over the runs; None where the paper does not give it.
    runs: Number of runs.
    warmup_steps: Steps at the start of training with the learning rate `WARMUP_RATE`; 0: no warm-up. A warm-up of this
      project ends at an error instead, so no setting is equal to it.
  """

  paper: str
  place: str
  network: Mapping[str, Any]
  recipe: Mapping[str, Any]
  measure: str
  value: float | None
  statistic: str = ONE_RUN
  spread: float | None = None
  runs: int = 1
  warmup_steps: int = 0


def _stochastic_depth(depth: int, survival: float, error: float) -> PublishedResult:
  """Returns a result of Huang et al. 2016 (arXiv:1603.09382) with 45,000 training images.

  The recipe of 110 layers is 500 epochs without a warm-up; that of 1202 layers is 300 epochs, the first 10 of which are
  a warm-up (Sec. 4). In both, the learning rate drops after half and three quarters of the epochs.
  """
  place, epochs, warmup_epochs = ("Table 1", 500, 0) if depth == 110 else ("Sec. 4", 300, 10)
  steps, warmup_steps = (round(number * 45_000 / 128) for number in (epochs, warmup_epochs))
  recipe = {"data.validation_images": 5000, "train.steps": steps, "train.nesterov": True}
  network = {"model.depth": depth, "model.survival": survival}
  return PublishedResult(
    "Huang et al. 2016", place, network, recipe, AT_BEST_VALIDATION, error, warmup_steps=warmup_steps
  )


def _rezero(network: Mapping[str, Any], loss: float) -> PublishedResult:
  """Returns a result of the repository of Bachlechner et al. 2020: 64 dense layers of width 256, Adagrad."""
  recipe = {"train.optimizer": "adagrad", "train.learning_rate": 0.01, "train.drops": [], "train.weight_decay": 0.0}
  recipe |= {"data.pad": 0, "data.mirror": False, "train.steps": 3910}
  shared = {"model.family": "mlp", "model.block": "dense", "model.depth": 64, "model.width": 256, "model.norm": "none"}
  return PublishedResult("Bachlechner et al. 2020", "repository", {**shared, **network}, recipe, LOSS_AT_EPOCH_10, loss)


def _identity_mappings(
  place: str, network: Mapping[str, Any], error: float | None, batch: int = 128, spread: float | None = None
) -> PublishedResult:
  """Returns a result of He et al. 2016 (arXiv:1603.05027): the recipe of 2015, with as many epochs at batch size 64.

  All networks warm up for 400 steps (appendix). The errors are medians of 5 runs. Where the paper gives mean and
  standard deviation, too, `error` is the mean: the medians of the 1001 layers are 4.92 % and, at batch size 64, 4.62 %.
  """
  recipe = {"train.batch_size": batch, "train.steps": 64_000 * 128 // batch}
  statistic = MEAN if spread else MEDIAN
  return PublishedResult(
    "He et al. 2016", place, network, recipe, LAST, error, statistic, spread, runs=5, warmup_steps=400
  )


def _cifar_resnet18() -> PublishedResult:
  """DeVries and Taylor 2017 (arXiv 1708.04552), the authors' repository: the network without cutout, 200 epochs."""
  network = {"model.family": "imagenet", "model.depth": 18, "model.stem": "3x3", "model.shortcut": "B"}
  recipe = {"train.steps": 78_125, "train.nesterov": True, "train.weight_decay": 5e-4, "train.drop_factor": 0.2}
  return PublishedResult(
    "DeVries and Taylor 2017",
    "repository",
    network,
    {**recipe, "train.drops": [0.3, 0.6, 0.8]},
    LAST,
    0.0472,
    MEAN,
    runs=5,
  )


_PREACTIVATION = {"model.preactivation": True}
_BOTTLENECK = {"model.block": "bottleneck"}
RESULTS = (
  _identity_mappings("Table 1", {"model.shortcut": "half"}, None),
  _identity_mappings("Table 1", {"model.shortcut": "dropout"}, None),
  _identity_mappings("Table 1", {"model.shortcut": "mean"}, 0.1235),
  _identity_mappings("Table 1", {"model.shortcut": "exclusive_gate"}, 0.0870),
  _identity_mappings("Table 1", {"model.shortcut": "gate"}, 0.0691),
  _identity_mappings("Table 1", {"model.shortcut": "gate", "model.gate_bias": 0.0}, 0.1286),
  _identity_mappings("Table 1", {"model.shortcut": "C"}, 0.1222),
  _identity_mappings("Table 2", _PREACTIVATION, 0.0637),
  _identity_mappings("Table 2", {**_PREACTIVATION, **_BOTTLENECK, "model.depth": 164}, 0.0546),
  _identity_mappings("Table 4", {**_PREACTIVATION, **_BOTTLENECK, "model.depth": 1001}, 0.0489, spread=0.0014),
  _identity_mappings("Table 4", {**_PREACTIVATION, **_BOTTLENECK, "model.depth": 1001}, 0.0469, 64, 0.0020),
  _stochastic_depth(110, 1.0, 0.0641),
  _stochastic_depth(110, 0.5, 0.0525),
  _stochastic_depth(1202, 1.0, 0.0667),
  _stochastic_depth(1202, 0.5, 0.0491),
  _cifar_resnet18(),
  _rezero({"model.kind": "plain"}, 2.02),
  _rezero({"model.kind": "plain", "model.norm": "layer"}, 2.02),
  _rezero({}, 1.87),
  _rezero({"model.shortcut": "rezero"}, 0.52),
)
