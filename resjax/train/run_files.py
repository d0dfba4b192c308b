"""The files of a run directory that contain its trained network, so that it can be used without the training set."""

import dataclasses
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resjax import config, files, processes, records
from resjax.config import Config
from resjax.data.augment import Statistics
from resjax.models import layout
from resjax.settings import ConfigError
from resjax.train.checkpoints import restore_variables

CHECKPOINTS = "checkpoints"
INPUT = "input.npz"
PROFILE = "profile"


@dataclasses.dataclass(frozen=True)
class InputSpec:
  """The input of a network.

  Attributes:
    image_shape: Height, width and channels of the training images.
    statistics: Mean and standard deviation that images are normalized with.
  """

  image_shape: tuple[int, int, int]
  statistics: Statistics


@dataclasses.dataclass(frozen=True)
class RestoredRun:
  """A network restored from the newest checkpoint of its run directory.

  Attributes:
    directory: The run directory.
    config: Settings of the run.
    input: Input of the network.
    classes: Number of classes.
    step: Step of the checkpoint.
    variables: `params` and `batch_stats` in the stacked layout, on one device.
    class_names: Names of the classes; None if they are not recorded.
    data_digest: Digest of the data set that the network was trained on; None if it is not recorded.
  """

  directory: Path
  config: Config
  input: InputSpec
  classes: int
  step: int
  variables: dict[str, Any]
  class_names: tuple[str, ...] | None = None
  data_digest: str | None = None


def read(directory: Path) -> RestoredRun:
  """Restores the network of a run directory from its newest checkpoint, also while the run is in progress.

  Raises:
    ConfigError: The directory is not a run directory, lacks a checkpoint or `input.npz`, or one of them is damaged.
    RecordsError: run.json or config.json cannot be read.
  """
  if not (directory / "run.json").is_file():
    raise ConfigError(
      f"{directory}: is not a run directory, because it contains no run.json; name one below the work directory"
    )
  run = records.read_run(directory)
  try:
    settings = config.freeze(run.config)
  except ConfigError as error:
    raise ConfigError(f"{directory / 'config.json'}: {error}") from None
  step, variables = restore_variables(directory / CHECKPOINTS)
  digest = run.run["params_digest"]
  if digest and run.run["status"] == records.DONE and layout.digest(variables["params"]) != digest:
    raise ConfigError(
      f"{directory / CHECKPOINTS}: step {step} is damaged: its parameters do not have the params_digest of run.json"
    )
  head = variables["params"]["head"]
  classes = len(head["dense"]["bias"]) if "dense" in head else len(head["classes"]["bias"]) - 1  # of a detector
  trained_on = run.run["data"]
  return RestoredRun(
    directory,
    settings,
    read_input(directory),
    classes,
    step,
    variables,
    class_names=tuple(trained_on["class_names"] or ()) or None,
    data_digest=trained_on["digest"],
  )


def check_class_names(runs: Sequence[RestoredRun], data: str, names: tuple[str, ...] | None) -> None:
  """Raises ConfigError if a class has different names in the runs or in a data set, as far as names are known.

  Args:
    runs: Networks with the same number of classes; those of earlier versions have no record of the names.
    data: Data set, as messages name it.
    names: Names of its classes; None if it has none.
  """
  known = [*((str(run.directory), run.class_names) for run in runs), (data, names)]
  named = [(owner, each) for owner, each in known if each]
  for owner, each in named[1:]:
    for number, (name, wanted) in enumerate(zip(each, named[0][1], strict=True), 1):
      if name != wanted:
        raise ConfigError(f"{owner}: class {number} is {name!r}, must be {wanted!r} as that of {named[0][0]}")


def read_input(directory: Path) -> InputSpec:
  """Reads `input.npz`, which `write_input` wrote.

  Raises:
    ConfigError: The file is missing or damaged.
  """
  path = directory / INPUT
  try:
    # np.load by itself would leave a damaged file open.
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
      height, width, channels = (int(size) for size in file["image_shape"])
      return InputSpec((height, width, channels), Statistics(file["mean"], file["std"]))
  except FileNotFoundError:
    raise ConfigError(f"{path}: is missing; it contains the statistics with which images are normalized") from None
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise ConfigError(f"{path}: is damaged ({' '.join(str(error).split())})") from None


def write_input(directory: Path, spec: InputSpec) -> None:
  """Writes `input.npz` of a run directory; an existing file is replaced atomically."""
  if not processes.is_first():
    return
  mean, std = np.asarray(spec.statistics.mean), np.asarray(spec.statistics.std)
  content = io.BytesIO()
  np.savez(content, mean=mean, std=std, image_shape=np.array(spec.image_shape))
  files.write_atomically(directory / INPUT, content.getvalue())
