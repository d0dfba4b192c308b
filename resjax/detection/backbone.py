"""Initialization of a detector from a trained classification network, and the choice of its frozen parameters."""

import dataclasses
import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from resjax import files, records, settings
from resjax.config import Config, Detection, Model, freeze
from resjax.data.annotated_images import AnnotatedImage
from resjax.data.augment import Statistics
from resjax.data.files import Encoded, Unreadable
from resjax.data.image_decoder import decode
from resjax.detection.network import Detector
from resjax.models import ScanOptions
from resjax.settings import ConfigError
from resjax.train import run_files

# Settings in which the classification network may differ from that of the detector, because parameters do not depend
# on them.
UNCHECKED_SETTINGS = ("precision", "norm_images", "norm_momentum", "zero_init_scale")
CLASSIFIER = "params/head/dense/"  # path of the classification layer, the only one that the detector replaces
MEAN_IMAGES = 256  # training images from which the channel means are estimated without a backbone
MAX_PIXEL = 255.0  # largest value of a pixel


@dataclasses.dataclass(frozen=True)
class Backbone:
  """Variables and input statistics of a trained classification network.

  Attributes:
    directory: Run directory of the network.
    variables: Collections `params` and `batch_stats` in the stacked layout.
    statistics: Mean and standard deviation per channel with which its images were normalized, float32 [3].
  """

  directory: Path
  variables: dict[str, Any]
  statistics: Statistics


def read(config: Config) -> Backbone | None:
  """Reads the classification network of `detection.backbone`; returns None if the setting is empty.

  Args:
    config: Settings of the run of the detector.

  Raises:
    ConfigError: There is no such run, it is a detector, or its network differs from that of this detector.
  """
  if not config.detection.backbone:
    return None
  run = run_files.read(_find_run(config))
  if run.config.data.has_boxes:
    raise ConfigError(
      f"detection.backbone = {config.detection.backbone!r}: must be a classification network, but is a detector "
      f"(data.name = {run.config.data.name!r}); name the run that this detector was trained from"
    )
  if differing := _differences(run.config, config):
    raise ConfigError(
      f"detection.backbone = {config.detection.backbone!r}: must have the same network as this run, but differs in "
      f"{differing}"
    )
  mean = np.asarray(run.input.statistics.mean)
  channels = mean.reshape(-1, mean.shape[-1]).mean(0)
  if len(channels) != 3:
    raise ConfigError(
      f"detection.backbone = {config.detection.backbone!r}: must take images of 3 channels, not {len(channels)}"
    )
  statistics = Statistics(channels.astype(np.float32), np.asarray(run.input.statistics.std))
  return Backbone(run.directory, run.variables, statistics)


def _find_run(config: Config) -> Path:
  """Returns the run directory that `detection.backbone` names, or chooses one of several below it.

  A classification run with the same network is chosen: the one with the seed of the detector, otherwise the one with
  the lowest seed.

  Args:
    config: Settings of the run of the detector.

  Raises:
    ConfigError: No classification run has the network of the detector.
  """
  root = files.as_path(config.detection.backbone)
  if not root.is_dir() or (root / "run.json").is_file():
    return root
  every = {directory: freeze(records.read_run(directory).config) for directory in records.find_runs(root)}
  if not every:
    return root
  configs = {directory: other for directory, other in every.items() if not other.data.has_boxes}
  if not configs:
    raise ConfigError(
      f"detection.backbone = {config.detection.backbone!r}: must contain a classification network, but has only "
      "detectors"
    )
  fitting = [directory for directory, other in configs.items() if not _differences(other, config)]
  if not fitting:
    directory, other = next(iter(configs.items()))
    raise ConfigError(
      f"detection.backbone = {config.detection.backbone!r}: must contain a run with the same network as this run, but "
      f"has {len(configs)} others; {directory.name} differs in {_differences(other, config)}"
    )
  return min(fitting, key=lambda directory: (configs[directory].seed != config.seed, configs[directory].seed))


def _differences(there: Config, here: Config) -> str:
  """Describes the settings that give two networks different parameters; empty if there are none."""
  models = (
    {f"model.{key}": value for key, value in dataclasses.asdict(each.model).items() if key not in UNCHECKED_SETTINGS}
    | {"model.shortcut": each.shortcut}  # None for plain networks, in which the setting has no effect
    for each in (there, here)
  )
  return settings.differences(*models)


def check(config: Config) -> dict[str, Any] | None:
  """Returns the entry `backbone` of run.json; None if `detection.backbone` is empty.

  Args:
    config: Settings of the run of the detector.

  Raises:
    ConfigError: `detection.backbone` cannot be used, or the extra `detection` is not installed.
  """
  if importlib.util.find_spec("pycocotools") is None:
    raise ConfigError(f"data.name = {config.data.name!r} needs pycocotools: install the extra detection")
  backbone = read(config)
  if backbone is None:
    return None
  detector = Detector(config.model, config.detection, 1, ScanOptions())
  shapes = jax.eval_shape(detector.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
  replace_matching(shapes, backbone, config.detection)
  run = records.read_run(backbone.directory).run
  return {key: run[key] for key in ("id", "step", "params_digest")} | {"test_error": run["result"]["test_error"]}


def replace_matching(variables: dict[str, Any], backbone: Backbone, detection: Detection) -> dict[str, Any]:
  """Returns the variables of a detector, with those of the backbone in place of all that have the same name.

  Args:
    variables: Collections `params` and `batch_stats` of the detector, or their shapes.
    backbone: Classification network.
    detection: Settings of the detector.

  Raises:
    ConfigError: A variable of the backbone outside its classification layer does not fit the detector.
  """
  own = traverse_util.flatten_dict(variables, sep="/")
  others = {
    path: leaf
    for path, leaf in traverse_util.flatten_dict(backbone.variables, sep="/").items()
    if not path.startswith(CLASSIFIER)
  }
  for path, leaf in others.items():
    shape = own[path].shape if path in own else None
    if leaf.shape != shape:
      raise ConfigError(
        f"detection.backbone: {path.partition('/')[2]} has the shape {leaf.shape} in {backbone.directory}, but {shape} "
        f"in the detector; {_advice(path, leaf.shape, shape, detection)}"
      )
  return {**variables, **traverse_util.unflatten_dict(own | others, sep="/")}


def _advice(path: str, there: tuple[int, ...], here: tuple[int, ...] | None, detection: Detection) -> str:
  """Returns what to do about a variable that has the shape `there` in the backbone, but `here` in the detector."""
  if here and path == "params/head/dense1/kernel":  # it takes all bins of a pooled region
    squared = detection.pool_size**2 * there[0] // here[0]
    if squared == math.isqrt(squared) ** 2:
      return f"set detection.pool_size = {math.isqrt(squared)}"
  return "choose a run with the same network"


def frozen_parameters(model: Model, detection: Detection) -> Callable[[Any], bool]:
  """Returns a predicate of the path of a parameter: whether training leaves it unchanged.

  The parameters of batch norm are always frozen (appendix), all others in the first `detection.frozen_stages` parts.

  Args:
    model: Settings of the network.
    detection: Settings of the detector.
  """
  names = ["stem", *(f"stage{i}" for i in range(1, len(model.structure.stages) + 1))]
  if model.family == "vgg":
    names = names[1:]
  whole = names[: detection.frozen_stages]

  def is_frozen(path: Any) -> bool:
    return path[0].key in whole or (model.norm == "batch" and any("norm" in key.key for key in path))

  return is_frozen


def estimate_mean(images: tuple[AnnotatedImage, ...]) -> Statistics:
  """Estimates the mean of each channel from evenly spread images of a data set; the standard deviations are 1.

  Args:
    images: Images of the data set.

  Raises:
    ConfigError: None of the images can be decoded.
  """
  count = min(MEAN_IMAGES, len(images))
  means = []
  for image in (images[i * len(images) // count] for i in range(count)):
    try:
      means.append(decode(Encoded(image.name, image.path.read_bytes(), 0), 32).mean((0, 1)))
    except (OSError, Unreadable):
      continue  # training reports the image
  if not means:
    raise ConfigError(f"{Path(images[0].path).parent}: none of {count} images can be decoded; check data.path")
  return Statistics((np.mean(means, 0) / MAX_PIXEL).astype(np.float32), np.ones(3, np.float32))
