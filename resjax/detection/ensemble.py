"""Evaluation of trained detectors, alone or as an ensemble, on the test images of a data set.

The final detections of the detectors and image sizes are merged, which differs from the paper; see `evaluation`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from resjax import data, mesh
from resjax.config import Data, Execution
from resjax.data import DetectionDataset
from resjax.data.batch_stream import worker_count
from resjax.detection import average_precision, evaluation
from resjax.detection.network import Detector
from resjax.models import ScanOptions
from resjax.settings import ConfigError
from resjax.train import run_files
from resjax.train.run_files import RestoredRun

DEFINITIONS = {
  "voc": "area under the precision-recall curve (VOC 2010 and later)",
  "coco": "mean precision over 101 recalls (COCO)",
}  # definition of average precision by `data.name`
PROTOCOLS = {"single": (1.0,), "multiscale": evaluation.SCALES}  # factors of the image size by protocol


@dataclasses.dataclass(frozen=True)
class EnsembleScores:
  """Average precision of an ensemble on a data set.

  Attributes:
    images: Number of evaluated images.
    definition: Definition of average precision in `map50` and `by_class`.
    map50: Mean average precision over classes at an IoU of 0.5.
    map50_11_points: The same as the mean over eleven recalls, the definition of VOC 2007; None for COCO.
    map: Mean average precision over classes and IoUs from 0.5 to 0.95 (COCO).
    by_class: Average precision at an IoU of 0.5 by the name of the class; NaN for a class without objects.
    notes: Remarks on the data set.
    skipped: Descriptions of the images that could not be decoded.
  """

  images: int
  definition: str
  map50: float
  map50_11_points: float | None
  map: float
  by_class: dict[str, float]
  notes: tuple[str, ...]
  skipped: tuple[str, ...]


def evaluate(directories: Sequence[Path], path: str, protocol: str) -> EnsembleScores:
  """Evaluates an ensemble on the test images of a data set, on all devices.

  Args:
    directories: Run directories of the detectors. The settings of the first apply to the merging of detections, and its
      `evaluation.batch_size` to all.
    path: Path of the data set, in the format of the training data of the first detector.
    protocol: "single" for the image size of training, "multiscale" for the sizes of `evaluation.SCALES`.

  Raises:
    ConfigError: The protocol does not exist, a directory or the data set cannot be used, or their classes differ.
  """
  if protocol not in PROTOCOLS:
    raise ConfigError(f"--protocol {protocol}: must be one of {', '.join(PROTOCOLS)} for a detector")
  runs = [run_files.read(directory) for directory in directories]
  for run in runs:
    if not run.config.data.has_boxes:
      raise ConfigError(
        f"--checkpoint {run.directory}: is not a detector; must name either detectors or classification networks"
      )
  config = dataclasses.replace(runs[0].config, execution=Execution())
  dataset = _read(config.data, path)
  _check_classes(runs, dataset, path)
  faults: dict[str, None] = {}
  with jax.set_mesh(mesh.make(config)):
    passes = [
      _evaluator(run, config.evaluation.batch_size)
      .at_scale(scale)
      .detect(_replicated_variables(run), dataset.test, faults)
      for run in runs
      for scale in PROTOCOLS[protocol]
    ]
  readable = [i for i, each in enumerate(passes[0]) if each is not None]
  if not any(dataset.test[i].objects for i in readable):
    raise ConfigError(f"--data {path}: none of its test images with objects can be decoded")
  found = [
    only[0]
    if len(only := [each for one in passes if (each := one[i]) is not None]) == 1
    else evaluation.merge_detections(only, config.detection)
    for i in readable
  ]
  by_class = average_precision.score_classes([dataset.test[i] for i in readable], found, dataset.classes)
  coco = config.data.name == "coco"
  precisions = [each.coco50 if coco else each.voc for each in by_class]
  return EnsembleScores(
    len(readable),
    DEFINITIONS[config.data.name],
    float(np.nanmean(precisions)),
    None if coco else float(np.nanmean([each.voc07 for each in by_class])),
    float(np.nanmean([each.coco for each in by_class])),
    dict(zip(dataset.class_names, precisions, strict=True)),
    dataset.notes,
    tuple(faults),
  )


def _read(trained_on: Data, path: str) -> DetectionDataset:
  """Reads the data set at a path, with the training images of training where it has them.

  They may determine the classes. Another data set may lack their split, so that its default is taken.
  """
  wanted = dataclasses.replace(trained_on, path=path, validation_images=0)
  same = Path(path).expanduser().resolve() == Path(trained_on.path).expanduser().resolve()
  try:
    dataset = data.load(wanted)
  except ConfigError:
    if same or not wanted.train_split:
      raise
    dataset = data.load(dataclasses.replace(wanted, train_split=""))
  assert isinstance(dataset, DetectionDataset)
  return dataset


def _check_classes(runs: Sequence[RestoredRun], dataset: DetectionDataset, path: str) -> None:
  """Raises ConfigError if the classes of the runs differ from each other or from those of the data set."""
  for run in runs:
    if run.classes != dataset.classes:
      raise ConfigError(
        f"--data {path}: must have {run.classes} classes, as {run.directory}, but has {dataset.classes}"
      )
  run_files.check_class_names(runs, f"--data {path}", dataset.class_names)


def _evaluator(run: RestoredRun, batch_size: int) -> evaluation.Evaluator:
  detector = Detector(run.config.model, run.config.detection, run.classes, ScanOptions())
  everywhere = mesh.replicated(jax.sharding.get_mesh())
  statistics = jax.device_put(run.input.statistics, everywhere)
  return evaluation.Evaluator(detector, statistics, batch_size, worker_count(-1))


def _replicated_variables(run: RestoredRun) -> Any:
  return jax.device_put(run.variables, mesh.replicated(jax.sharding.get_mesh()))
