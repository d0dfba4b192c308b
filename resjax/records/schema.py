"""What a run directory holds: keys of run.json and of the logs, and the form of a value and of a line."""

import contextlib
import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

SCHEMA = 1

PENDING, RUNNING, DONE, FAILED, PREEMPTED = "pending", "running", "done", "failed", "preempted"
STATUSES = (PENDING, RUNNING, DONE, FAILED, PREEMPTED)

RUN_KEYS = (
  *("schema", "id", "experiment", "variant", "question", "status", "reason", "kind", "depth", "shortcut", "seed"),
  *("params", "macs", "config_digest", "started", "ended", "step", "steps", "devices", "execution"),
  *("versions", "commit", "command", "data", "deviations", "events", "result", "params_digest"),
)
# What a reader may rely on inside a value of run.json, once `read_run` has filled the gaps.
NESTED_KEYS = {
  "devices": ("platform", "kind", "count", "processes"),
  "execution": ("remat", "convolution"),
  "data": ("name", "path", "form", "images", "digest"),
  "result": ("train_error", "test_error", "best_test_error", "best_step", "test_images"),
}
LIST_KEYS = {"deviations": ("name", "paper", "here"), "events": ("step", "name", "detail")}
_METRIC_KEYS = ("step", "epoch", "split", "loss", "error", "learning_rate", "images", "seconds", "images_per_second")
LOG_KEYS: dict[str, tuple[str, ...]] = {
  "metrics": _METRIC_KEYS,
  "responses": ("step", "layer", "name", "stage", "block", "std", "mean", "units", "images", "mode"),
  "gradients": ("step", "layer", "name", "stage", "block", "norm", "weight_norm"),
}
# What readers compute with, where it is not null.
FORMS: dict[str, type] = {
  **dict.fromkeys(("id", "experiment", "variant", "status", "reason", "kind", "shortcut", "commit", "command"), str),
  **dict.fromkeys(("depth", "seed", "params", "macs", "step", "steps"), int),
}
# Settings of config.json that an earlier version wrote under another name: section, old name and new name.
RENAMED_SETTINGS = (("execution", "together", "runs_per_program"),)
EMPTY_RUN: dict[str, Any] = {key: [] if key in LIST_KEYS else None for key in RUN_KEYS}


class RecordsError(Exception):
  """A run directory that cannot be used as asked; the message is one line for the user."""


@dataclasses.dataclass(frozen=True)
class Run:
  """One run as read back. Every key of the schema is present in `run` and in each log line."""

  directory: Path
  config: dict[str, Any]
  run: dict[str, Any]
  metrics: list[dict[str, Any]]
  responses: list[dict[str, Any]]
  gradients: list[dict[str, Any]]
  torn: int  # log lines that could not be read and were skipped


def check_keys(where: str, given: Iterable[str], allowed: tuple[str, ...]) -> None:
  """Raises RecordsError at the first key that is not allowed in `where`, the name of a file."""
  unknown = [key for key in given if key not in allowed]
  if unknown:
    raise RecordsError(f"{where} has no key {unknown[0]!r}; its keys are {', '.join(allowed)}")


def plain(value: Any, where: str) -> Any:
  """`value` as JSON holds it: numpy unwrapped, what is not finite as None."""
  if isinstance(value, np.generic | np.ndarray):
    value = value.tolist()
  if value is None or isinstance(value, str | bool | int):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, Mapping):
    return {str(key): plain(item, where) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [plain(item, where) for item in value]
  # Not an array of an accelerator either: reading one waits for the device, the caller's decision.
  raise RecordsError(f"{where} cannot hold a value of type {type(value).__name__}")


def is_step(value: Any) -> bool:
  """Whether a value can be the step of a line."""
  return isinstance(value, int) and not isinstance(value, bool)


def parts(directory: Path, log: str) -> list[Path]:
  """The files that make up a log: `metrics.jsonl`, then `metrics-00001.jsonl` and on by number."""
  whole = directory / f"{log}.jsonl"
  return [*([whole] if whole.exists() else []), *(path for _, path in _numbered(directory, log))]


def last_part(directory: Path, log: str) -> int:
  """The number of a log's newest part, 0 without one."""
  return max((number for number, _ in _numbered(directory, log)), default=0)


def _numbered(directory: Path, log: str) -> list[tuple[int, Path]]:
  matches = [(re.fullmatch(rf"{log}-(\d+)\.jsonl", path.name), path) for path in directory.glob(f"{log}-*.jsonl")]
  return sorted((int(match[1]), path) for match, path in matches if match)


def parse(raw: bytes, keys: tuple[str, ...]) -> dict[str, Any] | None:
  """One log line with every key of `keys`, or None where it is torn or no object with a step."""
  if not raw.endswith(b"\n"):
    return None  # the writer cuts it too, so reader and writer agree on what was logged
  with contextlib.suppress(ValueError):
    row = json.loads(raw, parse_constant=lambda _: None)
    if isinstance(row, dict) and is_step(row.get("step")):
      return {**dict.fromkeys(keys), **row}
  return None
