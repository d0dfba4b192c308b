"""A trained network loaded from a run directory, with images of the data set it was trained on."""

import dataclasses
import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from resjax import config, data, listing, mesh, models, records, study_records
from resjax.config import Config, Data
from resjax.data import Dataset, DetectionDataset, FileDataset
from resjax.data.augment import Statistics
from resjax.depth import Layer
from resjax.settings import ConfigError
from resjax.sweep import Run
from resjax.train import run_files


@functools.cache
def load(settings: Data) -> Dataset | FileDataset:
  """Loads a data set once per process, and prints remarks on it to standard error.

  Raises:
    ConfigError: The data set cannot be read, or is for detectors.
  """
  dataset = data.load(settings)
  if isinstance(dataset, DetectionDataset):
    raise ConfigError(f"data.name = {settings.name!r}: studies support classification networks, not detectors")
  for note in dataset.notes:
    print(note, file=sys.stderr)
  return dataset


@dataclasses.dataclass(frozen=True)
class TrainedModel:
  """A trained network, placed on the devices of the current mesh.

  Attributes:
    id: Id of the run.
    directory: Run directory.
    config: Settings of the run.
    step: Step of the checkpoint.
    classes: Number of classes, the width of the last layer.
    image_shape: Height, width and channels of an input image.
    net: Flax module of the network.
    variables: Collections `params` and `batch_stats`, with the blocks of a stage stacked.
    statistics: Mean and standard deviation that images are normalized with.
  """

  id: str
  directory: Path
  config: Config
  step: int
  classes: int
  image_shape: tuple[int, int, int]
  net: nn.Module
  variables: dict[str, Any]
  statistics: Statistics

  @property
  def table(self) -> list[Layer]:
    """Layer table of the network."""
    return self.config.model.net(self.image_shape, self.classes).table

  def sample(self, split: str, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns `count` images of `train` or `test`, uint8 [N, H, W, C], and labels, int32 [N], on all devices.

    The images are evenly spaced over the split, so that a split sorted by class is sampled representatively. If it has
    fewer images, all are returned.

    Args:
      split: "train" or "test".
      count: Number of images.

    Raises:
      ConfigError: The images do not fit the network, or training decodes them in every epoch.
    """
    there = self._dataset().count(split)
    taken = min(count, there)
    return self._take(split, np.arange(taken) * there // taken)

  def every_nth(self, split: str, count: int, interval: int) -> tuple[jax.Array, jax.Array]:
    """Returns every `interval`-th image from the first on, at most `count` of them, and the labels, like `sample`.

    Raises:
      ConfigError: The images do not fit the network, or training decodes them in every epoch.
    """
    return self._take(split, np.arange(0, self._dataset().count(split), interval)[:count])

  def first(self, split: str, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns the first `count` images and labels, those that captures during training use, like `sample`.

    Raises:
      ConfigError: The images do not fit the network, training decodes them in every epoch, or there are fewer.
    """
    there = self._dataset().count(split)
    if count > there:
      raise ConfigError(f"{self.directory}: images = {count}: must be at most {there}, the number of {split} images")
    return self._take(split, np.arange(count))

  def recorded(self, log: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the lines of a study record that have the given values.

    Args:
      log: Name of the record, such as "lesions".
      values: Values by key.
    """
    rows = study_records.read(self.directory)[0][log]
    return [row for row in rows if all(row[key] == value for key, value in values.items())]

  def _take(self, split: str, chosen: np.ndarray) -> tuple[jax.Array, jax.Array]:
    dataset = self._dataset()
    images, labels = {
      "train": (dataset.train_images, dataset.train_labels),
      "test": (dataset.test_images, dataset.test_labels),
    }[split]
    return jax.device_put((images[chosen], labels[chosen]), mesh.replicated(jax.sharding.get_mesh()))

  def _dataset(self) -> Dataset:
    dataset = load_in_memory(self.config.data)
    if dataset.image_shape != self.image_shape or dataset.classes != self.classes:
      raise ConfigError(
        f"{self.directory}: needs images of shape {self.image_shape} in {self.classes} classes, but "
        f"{dataset.path or dataset.name} has shape {dataset.image_shape} and {dataset.classes} classes"
      )
    return dataset


def find(workdir: Path, only: str) -> dict[Path, Config]:
  """Returns the run directories at or below `workdir` that have a checkpoint, in the order of their paths.

  Args:
    workdir: Run directory, experiment or work directory.
    only: Filter of the runs, as for `--only`.

  Raises:
    ConfigError: There is no such run, or `only` is invalid.
    RecordsError: `workdir` is not a directory, or a run.json cannot be read.
  """
  found = {}
  for directory in records.find_runs(workdir):
    run = records.read_run(directory)
    if run.config and has_checkpoint(directory):
      named = Run(
        run.run["id"] or directory.name, run.run["experiment"] or "", run.run["variant"] or "", _settings(run)
      )
      found[directory] = named
  if not found:
    raise ConfigError(
      f"{workdir}: contains no run with a checkpoint; train first, or give a work directory that has checkpoints/"
    )
  chosen = listing.filter_runs(list(found.values()), only)
  return {directory: run.config for directory, run in found.items() if run in chosen}


def has_checkpoint(directory: Path) -> bool:
  """Returns whether a run directory has a complete checkpoint, which may still turn out to be damaged when read."""
  folder = directory / run_files.CHECKPOINTS
  return folder.is_dir() and any(step.name.isdigit() for step in folder.iterdir())


def read(directory: Path, path: str | None) -> TrainedModel:
  """Loads the latest checkpoint of a run directory onto the devices of the current mesh.

  Args:
    directory: Run directory.
    path: Path of the data set if it has moved, or None; its files may differ from the published ones.

  Raises:
    ConfigError: The run directory is damaged.
  """
  net = run_files.read(directory)
  settings = net.config
  if path is not None:
    settings = dataclasses.replace(settings, data=dataclasses.replace(settings.data, path=path, checksum="any"))
  variables, statistics = jax.device_put(
    (net.variables, net.input.statistics), mesh.replicated(jax.sharding.get_mesh())
  )
  return TrainedModel(
    records.read_run(directory).run["id"] or directory.name,
    directory,
    settings,
    net.step,
    net.classes,
    net.input.image_shape,
    models.build(settings.model, net.classes),
    variables,
    statistics,
  )


def load_in_memory(settings: Data) -> Dataset:
  """Loads a data set that is held in memory.

  Raises:
    ConfigError: The data set cannot be read, or training decodes its images in every epoch.
  """
  dataset = load(settings)
  if isinstance(dataset, FileDataset):
    raise ConfigError(f"data.resize = {settings.resize}: must be (), because studies need images held in memory")
  return dataset


def make_mesh(batch_size: int) -> Mesh:
  """Returns a mesh of the largest number of devices that divides the batch size of a study."""
  return mesh.make(
    Config(
      train=config.Train(batch_size=batch_size),
      evaluation=config.Evaluation(batch_size=batch_size),
      responses=config.Responses(images=batch_size, batch_size=batch_size),
    )
  )


def _settings(run: records.Run) -> Config:
  try:
    return config.freeze(run.config)
  except ConfigError as error:
    raise ConfigError(f"{run.directory / 'config.json'}: {error}") from None
