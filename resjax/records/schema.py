"""Schema of a run directory: keys of run.json and of the logs, types of values, and parsing of lines."""

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resjax import files

SCHEMA = 1
CONFIG = "config.json"

PENDING, RUNNING, DONE, FAILED, PREEMPTED = "pending", "running", "done", "failed", "preempted"
AT_CHANCE = "stayed at chance"  # name of an event
DIVERGED = "the loss is not finite at step"  # start of the reason of a failed run that diverged
STATUSES = (PENDING, RUNNING, DONE, FAILED, PREEMPTED)

RUN_KEYS = (
  *("schema", "id", "experiment", "variant", "question", "status", "reason", "kind", "depth", "shortcut", "seed"),
  *("params", "macs", "config_digest", "started", "ended", "step", "steps", "devices", "execution"),
  *("versions", "commit", "command", "data", "backbone", "deviations", "events", "result", "params_digest"),
)
# Keys inside values of run.json that `read_run` guarantees; missing ones are None.
NESTED_KEYS = {
  "devices": ("platform", "kind", "count", "processes"),
  "execution": ("remat", "convolution"),
  "data": ("name", "path", "form", "images", "digest", "class_names", "category_ids"),  # the last of detectors
  "backbone": ("id", "step", "test_error", "params_digest"),  # of a detector: the classification run it starts from
  "result": (
    *("train_error", "test_error", "best_test_error", "best_step", "test_images", "map50", "map", "training_macs"),
  ),
}
LIST_KEYS = {"deviations": ("name", "paper", "here"), "events": ("step", "name", "detail")}
_METRIC_KEYS = ("step", "epoch", "split", "loss", "error", "learning_rate", "images", "seconds", "images_per_second")
LOG_KEYS: dict[str, tuple[str, ...]] = {
  "metrics": _METRIC_KEYS,
  "responses": ("step", "layer", "name", "stage", "block", "std", "mean", "units", "images", "mode"),
  "gradients": ("step", "layer", "name", "stage", "block", "norm", "weight_norm"),
  # Of detectors: scores of each class; after the last step what was found, and some images, JPEG in base64.
  "average_precision": (
    *("step", "split", "class", "objects", "ap50", "ap50_11_points", "coco_ap50", "coco_ap", "precision"),
  ),
  "detections": ("step", "split", "image", "class", "score", "box"),
  "pictures": ("step", "split", "image", "width", "height", "wrong", "objects", "jpeg"),
}
# Types of the values that readers use, unless they are null.
FORMS: dict[str, type] = {
  **dict.fromkeys(("id", "experiment", "variant", "status", "reason", "kind", "shortcut", "commit", "command"), str),
  **dict.fromkeys(("depth", "seed", "params", "macs", "step", "steps"), int),
}
# Settings of config.json that an earlier version wrote under another name: section, old name and new name.
RENAMED_SETTINGS = (("execution", "together", "runs_per_program"),)
EMPTY_RUN: dict[str, Any] = {key: [] if key in LIST_KEYS else None for key in RUN_KEYS}


class RecordsError(Exception):
  """A run directory cannot be used as requested; the message is one line for the user."""


@dataclasses.dataclass(frozen=True)
class Run:
  """Contents of a run directory. Every key of the schema is present in `run` and in each log line.

  Attributes:
    directory: Run directory.
    config: Settings, the contents of config.json.
    run: Contents of run.json.
    metrics: Lines of metrics.jsonl.
    responses: Lines of responses.jsonl.
    gradients: Lines of gradients.jsonl.
    average_precision, detections, pictures: Lines of the logs of detectors with these names.
    torn: Number of log lines that were skipped because they could not be parsed.
  """

  directory: Path
  config: dict[str, Any]
  run: dict[str, Any]
  metrics: list[dict[str, Any]]
  responses: list[dict[str, Any]]
  gradients: list[dict[str, Any]]
  average_precision: list[dict[str, Any]]
  detections: list[dict[str, Any]]
  pictures: list[dict[str, Any]]
  torn: int


def check_keys(where: str, given: Iterable[str], allowed: tuple[str, ...]) -> None:
  """Raises RecordsError if a key is not allowed in the file named `where`."""
  unknown = [key for key in given if key not in allowed]
  if unknown:
    raise RecordsError(f"{where} has no key {unknown[0]!r}; its keys are {', '.join(allowed)}")


def plain(value: Any, where: str) -> Any:
  """Converts a value for JSON: numpy values to Python ones, numbers that are not finite to None.

  Raises:
    RecordsError: JSON cannot represent the value; the message names the file `where`.
  """
  if isinstance(value, np.generic | np.ndarray):
    value = value.tolist()
  if isinstance(value, str):
    return value if where == CONFIG else files.printable(value)  # a path in the settings must stay usable
  if value is None or isinstance(value, bool | int):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, Mapping):
    return {str(key): plain(item, where) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [plain(item, where) for item in value]
  # JAX arrays are rejected, too: reading one waits for the device, which the caller should decide.
  raise RecordsError(f"{where} cannot hold a value of type {type(value).__name__}")


def is_step(value: Any) -> bool:
  """Returns whether a value can be the step of a line."""
  return isinstance(value, int) and not isinstance(value, bool)


def parts(directory: Path, log: str) -> list[Path]:
  """Returns the existing files of a log in order: `metrics.jsonl`, then `metrics-00001.jsonl` and so on."""
  whole = directory / f"{log}.jsonl"
  return [*([whole] if whole.exists() else []), *(path for _, path in _numbered(directory, log))]


def last_part(directory: Path, log: str) -> int:
  """Returns the number of the last numbered part of a log, 0 if there is none."""
  return max((number for number, _ in _numbered(directory, log)), default=0)


def _numbered(directory: Path, log: str) -> list[tuple[int, Path]]:
  matches = [(re.fullmatch(rf"{log}-(\d+)\.jsonl", path.name), path) for path in directory.glob(f"{log}-*.jsonl")]
  return sorted((int(match[1]), path) for match, path in matches if match)


def parse(raw: bytes, keys: tuple[str, ...]) -> dict[str, Any] | None:
  """Parses a log line.

  Args:
    raw: Bytes of the line.
    keys: Keys of the result; those that the line lacks are None.

  Returns:
    The line, or None if it is incomplete or not a JSON object with an integer step.
  """
  if not raw.endswith(b"\n"):
    return None  # the writer drops an incomplete line, too, so that reader and writer agree on what was logged
  with contextlib.suppress(ValueError):
    row = json.loads(raw, parse_constant=lambda _: None)
    if isinstance(row, dict) and is_step(row.get("step")):
      return {**dict.fromkeys(keys), **row}
  return None
