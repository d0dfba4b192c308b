"""Evaluation of trained detectors, alone or as an ensemble, on the test images of a data set."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from resjax import data, mesh
from resjax.config import Execution
from resjax.data import DetectionDataset
from resjax.data.batch_stream import worker_count
from resjax.detection import average_precision, evaluation
from resjax.detection.network import Detector
from resjax.models import ScanOptions
from resjax.settings import ConfigError
from resjax.train import run_files
from resjax.train.run_files import RestoredRun

PROTOCOLS = {"single": (1.0,), "multiscale": evaluation.SCALES}  # factors of the image size by protocol


@dataclasses.dataclass(frozen=True)
class EnsembleScores:
  """Average precision of an ensemble on a data set.

  Attributes:
    images: Number of evaluated images.
    map50: Mean average precision over classes at an IoU of 0.5, by the definition of the data set (VOC or COCO).
    map: Mean average precision over classes and IoUs from 0.5 to 0.95 (COCO).
    by_class: Average precision at an IoU of 0.5 by the name of the class; NaN for a class without objects.
    notes: Remarks on the data set.
    skipped: Descriptions of the images that could not be decoded.
  """

  images: int
  map50: float
  map: float
  by_class: dict[str, float]
  notes: tuple[str, ...]
  skipped: tuple[str, ...]


def evaluate(directories: Sequence[Path], path: str, protocol: str) -> EnsembleScores:
  """Evaluates an ensemble on the test images of a data set, on all devices.

  Args:
    directories: Run directories of the detectors.
    path: Path of the data set, in the format of the training data of the first detector.
    protocol: "single" for the image size of training, "multiscale" for the sizes of `evaluation.SCALES`.

  Raises:
    ConfigError: The protocol does not exist, a directory or the data set cannot be used, or the classes differ.
  """
  if protocol not in PROTOCOLS:
    raise ConfigError(f"--protocol {protocol}: must be one of {', '.join(PROTOCOLS)} for a detector")
  runs = [run_files.read(directory) for directory in directories]
  config = dataclasses.replace(runs[0].config, execution=Execution())
  if not all(run.config.data.has_boxes for run in runs):
    raise ConfigError("--checkpoint: must name either detectors or classification networks, not both")
  dataset = data.load(dataclasses.replace(config.data, path=path, train_split="", test_split=config.data.test_split))
  assert isinstance(dataset, DetectionDataset)
  for run in runs:
    if run.classes != dataset.classes:
      raise ConfigError(
        f"--data {path}: must have {run.classes} classes, as {run.directory}, but has {dataset.classes}"
      )
  faults: dict[str, None] = {}
  with jax.set_mesh(mesh.make(config)):
    passes = [
      _evaluator(run).at_scale(scale).detect(_replicated_variables(run), dataset.test, faults)
      for run in runs
      for scale in PROTOCOLS[protocol]
    ]
  readable = [i for i, each in enumerate(passes[0]) if each is not None]
  if not readable:
    raise ConfigError(f"--data {path}: none of its test images can be decoded")
  settings = config.detection
  found = [
    only[0]
    if len(only := [each for one in passes if (each := one[i]) is not None]) == 1
    else evaluation.merge_detections(only, settings.overlap, settings.detections)
    for i in readable
  ]
  by_class = average_precision.score_classes([dataset.test[i] for i in readable], found, dataset.classes)
  precisions = [each.coco50 if config.data.name == "coco" else each.voc for each in by_class]
  return EnsembleScores(
    len(readable),
    float(np.nanmean(precisions)),
    float(np.nanmean([each.coco for each in by_class])),
    dict(zip(dataset.class_names, precisions, strict=True)),
    dataset.notes,
    tuple(faults),
  )


def _evaluator(run: RestoredRun) -> evaluation.Evaluator:
  detector = Detector(run.config.model, run.config.detection, run.classes, ScanOptions())
  everywhere = mesh.replicated(jax.sharding.get_mesh())
  statistics = jax.device_put(run.input.statistics, everywhere)
  return evaluation.Evaluator(detector, statistics, run.config.evaluation.batch_size, worker_count(-1))


def _replicated_variables(run: RestoredRun) -> Any:
  return jax.device_put(run.variables, mesh.replicated(jax.sharding.get_mesh()))
