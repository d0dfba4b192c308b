"""The typed, checked settings of a run, and what is derived from them alone."""

import dataclasses
import functools
import hashlib
import json
import operator
from collections.abc import Mapping
from typing import Any

from resjax import settings
from resjax.config import detection
from resjax.config.data import Data
from resjax.config.detection import Detection
from resjax.config.model import Model
from resjax.config.runtime import Checkpoint, Evaluation, Execution, Gradients, Responses
from resjax.config.training import HYPERPARAMETERS, Train
from resjax.settings import COUNT, ConfigError, setting

REFERENCE_BLOCKS = 9  # of ResNet-20, whose learning rate `train.rate_scale` does not change


@dataclasses.dataclass(frozen=True)
class Config:
  """Settings of one run: one network, one data set, one seed."""

  seed: int = setting(0, "seed of the initial weights, sample order, crops and mirroring", allowed=COUNT)
  model: Model = dataclasses.field(default_factory=Model)
  data: Data = dataclasses.field(default_factory=Data)
  detection: Detection = dataclasses.field(default_factory=Detection)
  train: Train = dataclasses.field(default_factory=Train)
  evaluation: Evaluation = dataclasses.field(default_factory=Evaluation)
  responses: Responses = dataclasses.field(default_factory=Responses)
  gradients: Gradients = dataclasses.field(default_factory=Gradients)
  checkpoint: Checkpoint = dataclasses.field(default_factory=Checkpoint)
  execution: Execution = dataclasses.field(default_factory=Execution)

  def __post_init__(self) -> None:
    captures: dict[str, Responses | Gradients] = {"responses": self.responses}
    if self.gradients.used:
      captures["gradients"] = self.gradients
    sizes = {"train": self.train.batch_size} | {key: capture.batch_size for key, capture in captures.items()}
    for key, size in sizes.items():
      if self.model.norm_images and size % self.model.norm_images:
        raise ConfigError(f"model.norm_images = {self.model.norm_images}: must divide {key}.batch_size = {size}")
    for key, capture in captures.items():
      if capture.images % capture.batch_size:
        raise ConfigError(
          f"{key}.images = {capture.images}: must be a multiple of {key}.batch_size = {capture.batch_size}"
        )
      late = [step for step in capture.steps if step > self.train.steps]
      if late:
        raise ConfigError(f"{key}.steps = {late[0]}: must be at most train.steps = {self.train.steps}")
    if self.execution.profile and self.train.steps <= self.execution.log_every:
      raise ConfigError(
        f"execution.profile = {self.execution.profile}: needs a second interval to trace; set execution.log_every = "
        f"{self.execution.log_every} below train.steps = {self.train.steps}"
      )
    if self.data.has_boxes:
      self._check_detection()
    if self.train.schedule == "plateau":
      if not self.evaluation.every:
        raise ConfigError("evaluation.every = 0: must be at least 1 for train.schedule = 'plateau'")
      if not 0 < self.train.drop_factor < 1:
        raise ConfigError(
          f"train.drop_factor = {self.train.drop_factor}: must be between 0 and 1 for train.schedule = 'plateau'"
        )

  def _check_detection(self) -> None:
    """Raises ConfigError if a detector does not support the settings."""
    needed = {
      "model.preactivation": (self.model.preactivation, False),
      "responses.final": (self.responses.final, False),
      "responses.every": (self.responses.every, 0),
      "responses.steps": (self.responses.steps, ()),
      "gradients.every": (self.gradients.every, 0),
      "gradients.steps": (self.gradients.steps, ()),
      "evaluation.statistics": (self.evaluation.statistics, "running"),
    }
    for key, (value, must) in needed.items():
      if value != must:
        raise ConfigError(f"{key} = {value!r}: must be {must!r} for a detector (data.name = {self.data.name!r})")
    if self.model.family == "mlp":
      raise ConfigError("model.family = 'mlp': a detector needs a convolutional network")
    if self.model.structure.fixup:
      raise ConfigError(
        "model.shortcut = 'fixup': cannot be the backbone of a detector, which has other heads; choose another shortcut"
      )
    stages, has_stem = len(self.model.structure.stages), self.model.family != "vgg"
    if self.detection.frozen_stages > stages + has_stem:
      parts = f"the stem and {stages} stages" if has_stem else f"{stages} stages, there is no stem"
      raise ConfigError(
        f"detection.frozen_stages = {self.detection.frozen_stages}: must be 0 to {stages + has_stem}: {parts}"
      )

  @property
  def shortcut(self) -> str | None:
    """`model.shortcut` of a residual network, None for a plain one."""
    return self.model.shortcut if self.model.kind == "residual" else None

  @property
  def scaled_train(self) -> Train:
    """The training settings with `rate_scale` applied to the learning rate: learning_rate (L / 9)^rate_scale."""
    scale = (self.model.structure.total_blocks / REFERENCE_BLOCKS) ** self.train.rate_scale
    return dataclasses.replace(self.train, learning_rate=self.train.learning_rate * scale, rate_scale=0.0)

  @property
  def batch_sizes(self) -> dict[str, int]:
    """Images of each kind of pass by dotted key; the number of devices must divide them."""
    sections = ("train", "evaluation", "responses", *(["gradients"] if self.gradients.used else []))
    return {f"{name}.batch_size": getattr(self, name).batch_size for name in sections}

  @property
  def shared(self) -> "Config":
    """The settings with the seed and all hyperparameters at their defaults.

    Runs with equal shared settings can be trained in one program, or one after another without a second compilation.
    """
    fixed = {name: getattr(Train(), name) for name in (*HYPERPARAMETERS, "rate_scale")}
    return dataclasses.replace(self, seed=0, train=dataclasses.replace(self.train, **fixed))

  def to_dict(self) -> dict[str, Any]:
    """Returns the settings as nested dicts of plain values, as config.json holds them."""
    return json.loads(json.dumps(dataclasses.asdict(self)))

  @property
  def digest(self) -> str:
    """SHA-256 of the settings that the result depends on: all but `execution` and `later` ones at their default."""
    values = self.to_dict()
    del values["execution"]
    for key, field in settings.leaves(Config):
      *path, name = key.split(".")
      if field.metadata["later"]:
        section = functools.reduce(operator.getitem, path, values)
        if section[name] == json.loads(json.dumps(field.default)):  # in JSON a tuple is a list
          del section[name]
    values = {key: value for key, value in values.items() if value != {}}  # a section may be later as a whole
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

  def deviations(self) -> list[dict[str, Any]]:
    """Returns the settings that differ from the paper's, as `{name, paper, here}`."""
    here = settings.flatten(self.to_dict())
    found = []
    for key, field in settings.leaves(Config):
      value = self._paper_value(key, field)
      paper = list(value) if isinstance(value, tuple) else value
      if value is not settings.UNSPECIFIED and here[key] != paper:
        found.append({"name": key, "paper": paper, "here": here[key]})
    return found

  def _paper_value(self, key: str, field: dataclasses.Field) -> Any:
    """Returns the paper's value of a setting, or UNSPECIFIED; a detector has its own recipe, except for the network."""
    # Batch norm is frozen in a detector, so that the number of images in its statistics has no effect.
    if self.data.has_boxes and (not key.startswith("model.") or key == "model.norm_images"):
      return detection.PAPER[self.data.name].get(key, settings.UNSPECIFIED)
    return settings.paper_value(field, self.model.family)


def freeze(values: Mapping[str, Any]) -> Config:
  """Returns the typed, checked settings.

  Args:
    values: Settings as nested mappings, such as a ConfigDict's `to_dict()`.

  Raises:
    ConfigError: A key is unknown, a value has the wrong type or is not allowed, or two settings contradict each other.
  """
  return settings.freeze(Config, values)
