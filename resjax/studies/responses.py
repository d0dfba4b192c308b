"""The responses of a trained net (Fig. 7), captured in another way than its run did: the paper's open readings."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from resjax import settings, study_records
from resjax.config import Config
from resjax.config.running import ResponseCapture
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.studies.shown import Shown
from resjax.studies.subject import Subject
from resjax.train import responses

_OF_BLOCKS = ("source", "batch_size", "pooling")
OWN = ("source", "images", "batch_size", "mode", "pooling", "first_conv")  # settings that a line names


def chosen(config: Config, given: Mapping[str, Any]) -> ResponseCapture:
  """Returns the capture's settings: those given, else those of the run."""
  of_run = {field.name: getattr(config.responses, field.name) for field in dataclasses.fields(ResponseCapture)}
  return settings.freeze(ResponseCapture, {**of_run, **given})


def check(_: Config, capture: ResponseCapture) -> None:
  """Raises ConfigError if the settings contradict each other."""
  if capture.images % capture.batch_size:
    raise ConfigError(f"images = {capture.images}: must be a multiple of batch_size = {capture.batch_size}")


def run(subject: Subject, capture: ResponseCapture, writer: RunWriter) -> list[dict[str, Any]]:
  """Writes responses.jsonl and blocks.jsonl, unless they have these lines already; returns a line of the summary.

  Raises:
    ConfigError: the images do not fit the net, or there are too few.
  """
  images, _ = subject.first(capture.source, capture.images)
  own = {key: getattr(capture, key) for key in OWN}
  known = study_records.read(subject.directory)[0]["responses"]
  rows = [row for row in known if all(row[key] == value for key, value in {**own, "step": subject.step}.items())]
  blocks = {key: own[key] for key in _OF_BLOCKS}
  with Shown(f"responses {subject.id}", 1, int(bool(rows)), "capture") as shown:
    if not rows:
      moments = responses.capture(subject.net, capture, subject.variables, images, subject.statistics)
      rows = [{**row, **own} for row in responses.lines(capture, subject.step, subject.table, moments)]
      beside = responses.block_lines(capture, subject.step, subject.table, moments)
      writer.append("blocks", [{**row, **blocks} for row in beside])
      writer.append("responses", rows)
      shown.show(1, capture.mode)
  mean = np.mean([row["std"] for row in rows])
  return [{"id": subject.id, **own, "layers": len(rows), "mean std": f"{mean:.4f}"}]
