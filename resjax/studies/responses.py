"""Study of the layer responses of a trained network (Fig. 7), with settings that may differ from those of its run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from resjax import settings
from resjax.config import Config
from resjax.config.runtime import ResponseCapture
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.studies.trained_model import TrainedModel
from resjax.train import responses
from resjax.train.progress import Progress

RECORDED_SETTINGS = ("source", "images", "batch_size", "mode", "pooling", "first_conv")  # in each line


def study_settings(config: Config, given: Mapping[str, Any]) -> ResponseCapture:
  """Returns the settings of the study: given values, otherwise those of the run."""
  of_run = {field.name: getattr(config.responses, field.name) for field in dataclasses.fields(ResponseCapture)}
  return settings.freeze(ResponseCapture, {**of_run, **given})


def check(_: Config, capture: ResponseCapture) -> None:
  """Raises ConfigError if the settings contradict each other."""
  if capture.images % capture.batch_size:
    raise ConfigError(f"images = {capture.images}: must be a multiple of batch_size = {capture.batch_size}")


def run(trained: TrainedModel, capture: ResponseCapture, writer: RunWriter) -> list[dict[str, Any]]:
  """Computes the lines of responses.jsonl and blocks.jsonl that are not recorded yet, and writes them.

  Args:
    trained: Network to study.
    capture: Settings of the study.
    writer: Writer of the study records.

  Returns:
    One row of the summary.

  Raises:
    ConfigError: The images do not fit the network, or there are too few.
  """
  images, _ = trained.first(capture.source, capture.images)
  columns = {key: getattr(capture, key) for key in RECORDED_SETTINGS}
  block_columns = {key: columns[key] for key in RECORDED_SETTINGS if key != "first_conv"}
  rows = trained.recorded("responses", {**columns, "step": trained.step})
  blocks = trained.recorded("blocks", {**block_columns, "step": trained.step})
  with Progress(f"responses {trained.id}", 1, int(bool(rows and blocks)), "capture") as progress:
    if not (rows and blocks):
      moments = responses.capture(trained.net, capture, trained.variables, images, trained.statistics)
      if not blocks:
        blocks = responses.block_lines(capture, trained.step, trained.table, moments)
        writer.append("blocks", [{**row, **block_columns} for row in blocks])
      if not rows:
        rows = [{**row, **columns} for row in responses.lines(capture, trained.step, trained.table, moments)]
        writer.append("responses", rows)
      progress.show(1, capture.mode)
  mean = np.mean([row["std"] for row in rows])
  return [{"id": trained.id, **columns, "layers": len(rows), "mean std": f"{mean:.4f}"}]
