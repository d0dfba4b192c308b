"""A trained net as its run directory holds it: what evaluation needs, without the training set."""

import dataclasses
import io
import zipfile
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


@dataclasses.dataclass(frozen=True)
class InputSpec:
  """What a net takes.

  Attributes:
    image_shape: (height, width, channels) it was trained at.
    statistics: what images are normalised with.
  """

  image_shape: tuple[int, int, int]
  statistics: Statistics


@dataclasses.dataclass(frozen=True)
class RestoredRun:
  """A trained net.

  Attributes:
    directory: its run directory.
    config: its run's.
    input: what it takes.
    classes: width of its last layer.
    step: of the checkpoint.
    variables: `params` and `batch_stats`, stacked, on one device.
  """

  directory: Path
  config: Config
  input: InputSpec
  classes: int
  step: int
  variables: dict[str, Any]


def read(directory: Path) -> RestoredRun:
  """Reads the newest checkpoint of a run directory, also while the run is going on.

  Raises:
    ConfigError: it is no run directory, has no checkpoint, is damaged, or was written by a version that kept no
      `input.npz`.
    RecordsError: run.json or config.json cannot be read.
  """
  if not (directory / "run.json").is_file():
    raise ConfigError(f"{directory}: no run directory (it has no run.json)")
  run = records.read_run(directory)
  try:
    settings = config.freeze(run.config)
  except ConfigError as error:
    raise ConfigError(f"{directory / 'config.json'}: {error}") from None
  step, variables = restore_variables(directory / CHECKPOINTS)
  digest = run.run["params_digest"]
  if digest and run.run["status"] == records.DONE and layout.digest(variables["params"]) != digest:
    raise ConfigError(f"{directory / CHECKPOINTS}: step {step} is damaged: not the params_digest of run.json")
  classes = len(variables["params"]["head"]["dense"]["bias"])
  return RestoredRun(directory, settings, read_input(directory), classes, step, variables)


def read_input(directory: Path) -> InputSpec:
  """Returns what `write_input` wrote.

  Raises:
    ConfigError: there is no such file, or it is damaged.
  """
  path = directory / INPUT
  try:
    with (
      path.open("rb") as stream,
      np.load(stream, allow_pickle=False) as file,
    ):  # np.load alone leaves a damaged one open
      height, width, channels = (int(size) for size in file["image_shape"])
      return InputSpec((height, width, channels), Statistics(file["mean"], file["std"]))
  except FileNotFoundError:
    raise ConfigError(f"{path}: missing; it says how images are normalised") from None
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
    raise ConfigError(f"{path}: damaged ({' '.join(str(error).split())})") from None


def write_input(directory: Path, taken: InputSpec) -> None:
  """Writes, beside a run's checkpoints, what its net takes; an existing file is replaced whole."""
  if not processes.is_first():
    return
  mean, std = np.asarray(taken.statistics.mean), np.asarray(taken.statistics.std)
  content = io.BytesIO()
  np.savez(content, mean=mean, std=std, image_shape=np.array(taken.image_shape))
  files.write_atomically(directory / INPUT, content.getvalue())
