"""Study of the gradient of a trained network's loss: its norm by layer, and its decomposition by path length."""

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


def chosen(config: Config, given: Mapping[str, Any]) -> GradientFlow:
  """Returns the settings of the study: given values, and the run's capture settings or defaults for all others."""
  of_run = {key: getattr(config.gradients, key) for key in ("images", "batch_size", "mode")}
  return settings.freeze(GradientFlow, {**of_run, **given})


def check(config: Config, flow: GradientFlow) -> None:
  """Raises ConfigError if the settings contradict each other or do not support the network of a run."""
  if flow.images % flow.batch_size:
    raise ConfigError(f"images = {flow.images}: must be a multiple of batch_size = {flow.batch_size}")
  if flow.path_images:
    segmented_model.check(config.model)


def run(trained: TrainedModel, flow: GradientFlow, writer: RunWriter) -> list[dict[str, Any]]:
  """Writes gradients.jsonl and paths.jsonl, unless they already have these lines; returns a row of the summary.

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
  own = {"step": trained.step, "images": flow.images, "batch_size": flow.batch_size, "mode": flow.mode}
  rows = trained.known("gradients", own)
  if not rows:
    found = gradients.capture(trained.net, flow, trained.variables, images, labels, trained.statistics)
    lines = gradients.lines(trained.step, trained.table, jax.device_get(found))
    rows = [{**row, **own} for row in lines]
    writer.append("gradients", rows)
  blocks = [row["norm"] for row in rows if row["stage"]]
  return {"norm in first block": f"{blocks[0]:.3g}", "in last": f"{blocks[-1]:.3g}"}


def _paths(trained: TrainedModel, flow: GradientFlow, writer: RunWriter) -> dict[str, Any]:
  images, labels = trained.sample("train", flow.path_images)
  taken = segmented_model.SegmentedModel(trained.config.model, trained.classes)
  own = {"step": trained.step, "images": len(labels), "source": "train", "blocks": sum(taken.stages.values())}
  rows = trained.known("paths", own)
  if not rows:
    arguments = taken.with_survival(trained.variables), images, labels, trained.statistics
    found = jax.device_get(gradient_paths.parts(taken, flow.path_batch_size, *arguments))
    products, squares, whole = (np.asarray(array, np.float64) for array in found)
    rows = [
      {**own, "length": length, "share": share, "norm": norm}
      for length, (share, norm) in enumerate(zip(products / whole, np.sqrt(squares / whole), strict=True))
    ]
    writer.append("paths", rows)
  mean = sum(row["length"] * row["share"] for row in rows)
  return {"blocks": own["blocks"], "mean length of path": f"{mean:.2f}"}
