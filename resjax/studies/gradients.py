"""Study of the loss gradient of a trained network: its norm by layer, and its decomposition by path length."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from resjax import settings
from resjax.config import Config
from resjax.config.studies import GradientFlow
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.studies import gradient_paths, segmented_model
from resjax.studies.trained_model import TrainedModel
from resjax.train import gradients
from resjax.train.progress import Progress


def study_settings(config: Config, given: Mapping[str, Any]) -> GradientFlow:
  """Returns the settings of the study: given values, otherwise those of the run's captures, otherwise defaults."""
  of_run = {key: getattr(config.gradients, key) for key in ("images", "batch_size", "mode")}
  return settings.freeze(GradientFlow, {**of_run, **given})


def check(config: Config, flow: GradientFlow) -> None:
  """Raises ConfigError if the settings contradict each other or do not support the network of a run."""
  if flow.images % flow.batch_size:
    raise ConfigError(f"images = {flow.images}: must be a multiple of batch_size = {flow.batch_size}")
  if flow.path_images:
    segmented_model.check(config.model)


def run(trained: TrainedModel, flow: GradientFlow, writer: RunWriter) -> list[dict[str, Any]]:
  """Computes the lines of gradients.jsonl and paths.jsonl that are not recorded yet, and writes them.

  Args:
    trained: Network to study.
    flow: Settings of the study.
    writer: Writer of the study records.

  Returns:
    One row of the summary.

  Raises:
    ConfigError: The images do not fit the network, or there are too few.
  """
  pieces = [_norms, *([_paths] if flow.path_images else [])]
  row: dict[str, Any] = {"id": trained.id}
  with Progress(f"gradients {trained.id}", len(pieces), 0, "part") as progress:
    for piece in pieces:
      found = piece(trained, flow, writer)
      row |= found
      progress.show(1, ", ".join(f"{key} {value}" for key, value in found.items()))
  return [row]


def _norms(trained: TrainedModel, flow: GradientFlow, writer: RunWriter) -> dict[str, Any]:
  images, labels = trained.first("train", flow.images)
  columns = {"step": trained.step, "images": flow.images, "batch_size": flow.batch_size, "mode": flow.mode}
  rows = trained.recorded("gradients", columns)
  if not rows:
    found = gradients.capture(trained.net, flow, trained.variables, images, labels, trained.statistics)
    lines = gradients.lines(trained.step, trained.table, jax.device_get(found))
    rows = [{**row, **columns} for row in lines]
    writer.append("gradients", rows)
  blocks = [row["norm"] for row in rows if row["stage"]]
  return {"norm in first block": f"{blocks[0]:.3g}", "norm in last block": f"{blocks[-1]:.3g}"}


def _paths(trained: TrainedModel, flow: GradientFlow, writer: RunWriter) -> dict[str, Any]:
  images, labels = trained.sample("train", flow.path_images)
  segmented = segmented_model.SegmentedModel(trained.config.model, trained.classes)
  columns = {"step": trained.step, "images": len(labels), "source": "train", "blocks": sum(segmented.stages.values())}
  rows = trained.recorded("paths", columns)
  if not rows:
    arguments = segmented.with_survival(trained.variables), images, labels, trained.statistics
    found = jax.device_get(gradient_paths.decompose(segmented, flow.path_batch_size, *arguments))
    products, squares, whole = (np.asarray(array, np.float64) for array in found)
    rows = [
      {**columns, "length": length, "share": share, "norm": norm}
      for length, (share, norm) in enumerate(zip(products / whole, np.sqrt(squares / whole), strict=True))
    ]
    writer.append("paths", rows)
  mean = sum(row["length"] * row["share"] for row in rows)
  return {"blocks": columns["blocks"], "mean path length": f"{mean:.2f}"}
