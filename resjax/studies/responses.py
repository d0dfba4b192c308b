"""Study of the layer responses of a trained network (Fig. 7) with other settings than those of its run."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from resjax import settings, study_records
from resjax.config import Config
from resjax.config.runtime import ResponseCapture
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.studies.trained_model import TrainedModel
from resjax.train import responses
from resjax.train.progress import Progress

OWN = ("source", "images", "batch_size", "mode", "pooling", "first_conv")  # settings that each line contains


def chosen(config: Config, given: Mapping[str, Any]) -> ResponseCapture:
  """Returns the settings of the study: given values, and those of the run for all others."""
  of_run = {field.name: getattr(config.responses, field.name) for field in dataclasses.fields(ResponseCapture)}
  return settings.freeze(ResponseCapture, {**of_run, **given})


def check(_: Config, capture: ResponseCapture) -> None:
  """Raises ConfigError if the settings contradict each other."""
  if capture.images % capture.batch_size:
    raise ConfigError(f"images = {capture.images}: must be a multiple of batch_size = {capture.batch_size}")


def run(trained: TrainedModel, capture: ResponseCapture, writer: RunWriter) -> list[dict[str, Any]]:
  """Writes responses.jsonl and blocks.jsonl, unless they already have these lines; returns a row of the summary.

  Raises:
    ConfigError: The images do not fit the network, or there are too few.
  """
  images, _ = trained.first(capture.source, capture.images)
  own = {key: getattr(capture, key) for key in OWN}
  of_blocks = {key: own[key] for key in OWN if key != "first_conv"}
  known = study_records.read(trained.directory)[0]
  rows = _matching(known["responses"], {**own, "step": trained.step})
  blocks = _matching(known["blocks"], {**of_blocks, "step": trained.step})
  with Progress(f"responses {trained.id}", 1, int(bool(rows and blocks)), "capture") as progress:
    if not (rows and blocks):
      moments = responses.capture(trained.net, capture, trained.variables, images, trained.statistics)
      if not blocks:
        blocks = responses.block_lines(capture, trained.step, trained.table, moments)
        writer.append("blocks", [{**row, **of_blocks} for row in blocks])
      if not rows:
        rows = [{**row, **own} for row in responses.lines(capture, trained.step, trained.table, moments)]
        writer.append("responses", rows)
      progress.show(1, capture.mode)
  mean = np.mean([row["std"] for row in rows])
  return [{"id": trained.id, **own, "layers": len(rows), "mean std": f"{mean:.4f}"}]


def _matching(lines: list[dict[str, Any]], wanted: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the lines that have the given values."""
  return [line for line in lines if all(line[key] == value for key, value in wanted.items())]
