"""From a trained classification network to a detector: its weights, and which of them stay as they are."""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from resjax import files, records, settings
from resjax.config import Config, Detection, Model
from resjax.data.annotated_images import AnnotatedImage
from resjax.data.augment import Statistics
from resjax.data.files import Encoded, Unreadable
from resjax.data.image_decoder import decode
from resjax.settings import ConfigError
from resjax.train import run_files

# Settings of a network that its parameters do not depend on.
FREE = ("precision", "norm_images", "norm_momentum", "zero_init_scale")
SAMPLED = 256  # training images that the mean colour is taken from where there is no backbone
LEVELS = 255.0


@dataclasses.dataclass(frozen=True)
class Backbone:
  """A trained classification network.

  Attributes:
    variables: `params` and `batch_stats`, in the stacked layout.
    statistics: Mean and standard deviation per channel that images are normalized with.
  """

  variables: dict[str, Any]
  statistics: Statistics


def read(config: Config) -> Backbone | None:
  """Returns the network of `detection.backbone`, or None where it is empty.

  Raises:
    ConfigError: There is no such run, or its network is another one than the detector's.
  """
  if not config.detection.backbone:
    return None
  run = run_files.read(files.as_path(config.detection.backbone))
  there, here = (
    {f"model.{key}": value for key, value in dataclasses.asdict(model).items() if key not in FREE}
    for model in (run.config.model, config.model)
  )
  if differing := settings.differences(there, here):
    raise ConfigError(f"detection.backbone = {config.detection.backbone!r}: is another network: {differing}")
  mean = np.asarray(run.input.statistics.mean)
  channels = mean.reshape(-1, mean.shape[-1]).mean(0)
  if len(channels) != 3:
    raise ConfigError(f"detection.backbone = {config.detection.backbone!r}: takes {len(channels)} channels, not 3")
  return Backbone(run.variables, Statistics(channels.astype(np.float32), np.asarray(run.input.statistics.std)))


def check(config: Config) -> dict[str, Any] | None:
  """Returns what run.json says about the network of `detection.backbone`; None where that is empty.

  Raises:
    ConfigError: `detection.backbone` cannot be used, or the extra is not installed.
  """
  if importlib.util.find_spec("pycocotools") is None:
    raise ConfigError(f"data.name = {config.data.name!r} needs pycocotools: install the extra detection")
  if read(config) is None:
    return None
  run = records.read_run(files.as_path(config.detection.backbone)).run
  return {key: run[key] for key in ("id", "step", "params_digest")} | {"test_error": run["result"]["test_error"]}


def insert(variables: dict[str, Any], backbone: Backbone) -> dict[str, Any]:
  """Returns the variables of a detector with the network's in place of all that have the same name and shape."""

  def replaced(path: Any, own: jax.Array) -> Any:
    other: Any = backbone.variables
    for key in path:
      if not isinstance(other, dict) or key.key not in other:
        return own
      other = other[key.key]
    return other if getattr(other, "shape", None) == own.shape else own

  return jax.tree.map_with_path(replaced, variables)


def frozen(model: Model, detection: Detection) -> Callable[[Any], bool]:
  """Returns whether the parameter at a path stays as it is: norms always, kernels in the first frozen stages."""
  names = ["stem", *(f"stage{i}" for i in range(1, len(model.structure.stages) + 1))]
  if model.family == "vgg":
    names = names[1:]
  whole = names[: detection.frozen_stages]

  def of(path: Any) -> bool:
    return path[0].key in whole or (model.norm == "batch" and any("norm" in key.key for key in path))

  return of


def mean_colour(images: tuple[AnnotatedImage, ...]) -> Statistics:
  """Returns the mean of each channel over some images of a set, evenly spread, and deviations of 1.

  Raises:
    ConfigError: None of them can be decoded.
  """
  count = min(SAMPLED, len(images))
  means = []
  for image in (images[i * len(images) // count] for i in range(count)):
    try:
      means.append(decode(Encoded(image.name, image.path.read_bytes(), 0), 32).mean((0, 1)))
    except (OSError, Unreadable):
      continue  # it is named when it is met in training
  if not means:
    raise ConfigError(f"{Path(images[0].path).parent}: none of {count} images can be decoded")
  return Statistics((np.mean(means, 0) / LEVELS).astype(np.float32), np.ones(3, np.float32))
