"""Which settings have an effect in which runs, so that a setting without effect is an error and not silently ignored.

Not listed are the settings of `execution`, which belong to a machine and not to an experiment, those of captures, which
the studies of trained networks use as defaults, and `data.checksum=any`, which permits something and demands nothing.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

from resjax import settings
from resjax.config import recipes
from resjax.config.detection import Detection
from resjax.config.model import Model
from resjax.config.root import Config
from resjax.config.training import uses_warmup
from resjax.settings import ConfigError


@dataclasses.dataclass(frozen=True)
class Condition:
  """Condition under which a setting has an effect.

  Attributes:
    text: The condition, as a noun phrase or an assignment that follows "needs".
    holds: Whether the settings of a run meet it.
  """

  text: str
  holds: Callable[[Config], bool]


def _without_weights(model: Model) -> bool:
  """Returns whether option A's identity is used: by shortcuts, or in plain networks in place of a deleted block."""
  return model.family != "vgg" if model.kind == "plain" else model.shortcut not in ("B", "C")


def _halves(model: Model) -> bool:
  """Returns whether a block halves its feature maps, if they are larger than one pixel."""
  return model.family != "mlp" and any(stage.stride == 2 for stage in model.structure.stages)


def _widens(model: Model) -> bool:
  """Returns whether a block has more output channels than input channels."""
  stages = model.structure.stages
  outputs = [model.structure.layers(stage.filters)[-1][1] for stage in stages]
  first = 3 if model.family == "vgg" else stages[0].filters
  return any(before != after for before, after in zip((first, *outputs), outputs, strict=False))


def _pads_at_stride_2(model: Model) -> bool:
  """Returns whether a layer of stride 2 has a kernel larger than 1x1; at stride 1 both paddings are the same."""
  structure = model.structure
  layers = zip(structure.layers(1), structure.strides(2), strict=True)
  return structure.first_layers == "7x7" or (
    _halves(model) and any(size > 1 and step > 1 for (size, _), step in layers)
  )


def _zero_scale_used(model: Model) -> bool:
  """Returns whether a norm comes before the last layer of a block, or after it, whose scale can start at 0."""
  return model.norm != "none" and not (model.preactivation and model.structure.layers_per_block == 1)


_BOXES = Condition("data.name = 'voc' or 'coco'", lambda c: c.data.has_boxes)
_BATCH_NORM = Condition(
  "model.norm = 'batch', and a classification network",  # in a detector batch norm is frozen
  lambda c: c.model.norm == "batch" and not c.data.has_boxes,
)
_IMAGE_FILES = Condition("data.name = 'folder' or 'imagenet2012'", lambda c: c.data.has_files)
_GIVEN = Condition("data.normalize = 'given'", lambda c: c.data.normalize == "given")
_PLATEAU = Condition("train.schedule = 'plateau'", lambda c: c.train.schedule == "plateau")
_SGD = Condition("train.optimizer = 'sgd'", lambda c: c.train.optimizer == "sgd")
_WARMUP = Condition("a warm-up, as train.warmup = 'on'", lambda c: uses_warmup(c.model, c.train))

CONDITIONS: dict[str, Condition] = {
  "model.pool_padding": Condition(
    "max pooling in the stem, as model.stem = '7x7'", lambda c: c.model.structure.first_layers == "7x7"
  ),
  "model.gate_bias": Condition(
    "model.kind = 'residual' and model.shortcut = 'gate' or 'exclusive_gate'",
    lambda c: c.shortcut in ("gate", "exclusive_gate"),
  ),
  "model.bottleneck_stride": Condition(
    "blocks that halve feature maps with model.block = 'bottleneck'",
    lambda c: c.model.block == "bottleneck" and _halves(c.model),
  ),
  "model.option_a_stride": Condition(
    "shortcuts that halve feature maps without weights, as model.shortcut = 'A'",
    lambda c: _without_weights(c.model) and _halves(c.model),
  ),
  "model.option_a_zeros": Condition(
    "shortcuts that add channels without weights, as model.shortcut = 'A'",
    lambda c: _without_weights(c.model) and _widens(c.model),
  ),
  "model.padding": Condition("a layer of stride 2 with a kernel larger than 1x1", lambda c: _pads_at_stride_2(c.model)),
  "model.zero_init_scale": Condition(
    "a norm for the last layer of each block, as model.norm = 'batch'", lambda c: _zero_scale_used(c.model)
  ),
  "model.norm_images": _BATCH_NORM,
  "model.norm_momentum": _BATCH_NORM,
  "model.norm_epsilon": Condition("model.norm = 'batch' or 'layer'", lambda c: c.model.norm != "none"),
  "data.train_split": _BOXES,
  "data.test_split": _BOXES,
  "data.normalize": Condition(
    "a classification network, or data.normalize = 'given' without detection.backbone",
    lambda c: not c.data.has_boxes or (c.data.normalize == "given" and not c.detection.backbone),
  ),
  "data.mean": _GIVEN,
  "data.std": _GIVEN,
  "data.pad": Condition("images held in memory", lambda c: not (c.data.has_boxes or c.data.is_streamed)),
  "data.image_size": _IMAGE_FILES,
  "data.resize": _IMAGE_FILES,
  "data.lighting": Condition(
    "image files decoded in every epoch (data.name = 'folder' or 'imagenet2012', with data.resize)",
    lambda c: c.data.is_streamed,
  ),
  "data.test_share": Condition("data.name = 'folder'", lambda c: c.data.name == "folder"),
  **{key: _BOXES for key, _ in settings.leaves(Detection, "detection.")},
  "train.drops": Condition("train.schedule = 'steps'", lambda c: c.train.schedule == "steps"),
  "train.drop_factor": Condition(
    "train.schedule = 'plateau', or 'steps' with train.drops",
    lambda c: c.train.schedule == "plateau" or (c.train.schedule == "steps" and bool(c.train.drops)),
  ),
  "train.plateau_patience": _PLATEAU,
  "train.plateau_gain": _PLATEAU,
  "train.momentum": _SGD,
  "train.nesterov": _SGD,
  "train.decay_norm_and_bias": Condition("train.weight_decay above 0", lambda c: c.train.weight_decay > 0),
  "train.warmup_rate": _WARMUP,
  "train.warmup_error": _WARMUP,
  "train.warmup_window": _WARMUP,
  "evaluation.statistics": Condition("model.norm = 'batch'", lambda c: c.model.norm == "batch"),
}


def ineffective(config: Config) -> dict[str, Any]:
  """Returns the settings without effect on a run that differ from the default and from every recipe, by dotted key.

  A value that some recipe sets is no mistake of the experiment, because recipes build on each other.
  """
  found = {}
  for key, condition in CONDITIONS.items():
    section, _, name = key.partition(".")
    value = getattr(getattr(config, section), name)
    if value not in _recipe_values()[key] and not condition.holds(config):
      found[key] = value
  return found


def with_defaults(config: Config) -> Config:
  """Returns the settings of a run with the default in place of each value without effect."""
  for key in ineffective(config):
    section, _, name = key.partition(".")
    part = dataclasses.replace(getattr(config, section), **{name: _recipe_values()[key][0]})
    config = dataclasses.replace(config, **{section: part})
  return config


def check_checkpoints(config: Config) -> None:
  """Raises ConfigError if `checkpoint.keep_every` or `keep_best` names checkpoints that are not saved or not evaluated.

  Records with such settings can still be read.
  """
  saved, evaluated, kept = config.checkpoint.every, config.evaluation.every, config.checkpoint.keep_every
  if kept and not saved:
    raise ConfigError(f"checkpoint.keep_every = {kept}: needs checkpoint.every above 0, of which it must be a multiple")
  if kept and kept % saved:
    raise ConfigError(f"checkpoint.keep_every = {kept}: must be a multiple of checkpoint.every = {saved}")
  if config.checkpoint.keep_best and not (saved and evaluated and saved % evaluated == 0):
    raise ConfigError(
      f"checkpoint.keep_best = True: needs an evaluation at each checkpoint; set checkpoint.every = {saved} to a "
      f"multiple of evaluation.every = {evaluated}, both above 0"
    )


def no_effect(key: str, value: Any, where: str) -> str:
  """Returns the error message for a setting without effect.

  Args:
    key: Dotted key of the setting.
    value: Value of the setting.
    where: Runs in which it has no effect, such as "in any run".
  """
  default = _recipe_values()[key][0]
  needed = CONDITIONS[key].text
  return f"{key} = {value!r}: has no effect {where}; it needs {needed}; set that, or leave {key} at {default!r}"


@functools.cache
def _recipe_values() -> dict[str, list[Any]]:
  """Returns the values of each conditional setting in the recipes, the default first."""
  made = [settings.flatten(recipe().to_dict()) for recipe in recipes.ALL]
  return {key: [values[key] for values in made] for key in CONDITIONS}
