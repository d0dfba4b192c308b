"""The run directory: its schema, its one writer, its tolerant reader.

    DIR/<experiment>/<run id>/
      run.json  config.json  metrics.jsonl  responses.jsonl  gradients.jsonl  lock

Everything is plain JSON or JSON lines. Errors are fractions, times are UTC in ISO 8601, a number
that is not finite is null. This module imports no JAX, so logs can be read where none is installed.
"""

import contextlib
import dataclasses
import datetime
import json
import math
import os
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
  *("params", "macs", "config_digest", "started", "ended", "step", "steps", "devices", "versions", "commit"),
  *("command", "data", "deviations", "events", "result", "params_digest"),
)
# What a reader may rely on inside a value of run.json, once `read_run` has filled the gaps.
NESTED_KEYS = {
  "devices": ("platform", "kind", "count", "processes"),
  "data": ("name", "path", "images", "digest"),
  "result": ("train_error", "test_error", "best_test_error", "best_step", "test_images"),
}
LIST_KEYS = {"deviations": ("name", "paper", "here"), "events": ("step", "name", "detail")}
_METRIC_KEYS = ("step", "epoch", "split", "loss", "error", "learning_rate", "images", "seconds", "images_per_second")
LOG_KEYS: dict[str, tuple[str, ...]] = {
  "metrics": _METRIC_KEYS,
  "responses": ("step", "layer", "name", "stage", "block", "std", "mean", "units", "images", "mode"),
  "gradients": ("step", "layer", "name", "stage", "block", "norm", "weight_norm"),
}
_EMPTY_RUN: dict[str, Any] = {key: [] if key in LIST_KEYS else None for key in RUN_KEYS}


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


def utc_now() -> str:
  """The time as the records write it, to the second: 2015-12-10T19:51:55+00:00."""
  return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class RunWriter:
  """The one writer of a run directory, from construction to `close` (or the end of `with`).

  Each change of a JSON file is a whole replacement, each append is on disk when the call returns:
  a kill at any moment leaves the old content, the new content, or one torn last line.

  Of several processes that train one run, the first writes; the others' writers are not `active`: they
  go through the same motions, touch no file and know only what they were told themselves.

  Args:
    directory: made if it is not there.
    active: see above.
    logs: the keys of a line of each log.

  Raises:
    RecordsError: another process writes here, or the directory cannot be used.
  """

  def __init__(
    self, directory: str | os.PathLike[str], active: bool = True, logs: Mapping[str, tuple[str, ...]] = LOG_KEYS
  ):
    self.directory, self.active, self._logs, self._lock = Path(directory), active, logs, -1
    self._run: dict[str, Any] = dict(_EMPTY_RUN)
    if not active:
      return
    try:
      self.directory.mkdir(parents=True, exist_ok=True)
    except OSError as e:
      raise RecordsError(f"{self.directory}: cannot be a run directory: {e.strerror}") from e
    self._lock = _lock(self.directory / "lock")
    try:
      if (self.directory / "run.json").exists():
        self._run |= _read_run_json(self.directory)
    except RecordsError:
      self.close()
      raise

  def __enter__(self) -> "RunWriter":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def close(self) -> None:
    """Gives the directory free for another writer. Closing twice is harmless."""
    if self._lock >= 0:
      os.close(self._lock)
      self._lock = -1

  @property
  def run(self) -> dict[str, Any]:
    """A copy of what run.json holds, or will with the first `update`."""
    return json.loads(json.dumps(self._run))

  def update(self, **fields: Any) -> None:
    """Merges `fields` into run.json. Keys never set are there as null.

    Raises:
      RecordsError: a key that is not in `RUN_KEYS`, or a status that is not in `STATUSES`.
    """
    _check_keys("run.json", fields, RUN_KEYS)
    if fields.get("status", PENDING) not in STATUSES:
      raise RecordsError(f"status {fields['status']!r} is none of {', '.join(STATUSES)}")
    merged = {**self._run, **_plain(fields, "run.json"), "schema": SCHEMA}
    self._replace_json("run.json", merged)
    self._run = merged

  def event(self, step: int, name: str, detail: str = "") -> None:
    """Appends to the events in run.json something that happened once, at `step`."""
    self.update(events=[*self.run["events"], {"step": step, "name": name, "detail": detail}])

  def write_config(self, config: Mapping[str, Any]) -> None:
    """Writes config.json whole."""
    self._replace_json("config.json", _plain(config, "config.json"))

  def append(self, log: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends one JSON line a row to `log` (of a run: metrics, responses or gradients) and syncs it to disk.

    A key that a row leaves out is written as null, except `step`, which must be there.

    Raises:
      RecordsError: an unknown log or key, no integer step, or a value that JSON cannot hold.
    """
    if log not in self._logs:
      raise RecordsError(f"log {log!r} is none of {', '.join(self._logs)}")
    keys = self._logs[log]
    lines = []
    for row in rows:
      _check_keys(f"{log}.jsonl", row, keys)
      line = {**dict.fromkeys(keys), **_plain(row, f"{log}.jsonl")}
      if not _is_step(line["step"]):
        raise RecordsError(f"{log}.jsonl: step must be an integer, not {line['step']!r}")
      lines.append(json.dumps(line, allow_nan=False) + "\n")
    if not self.active:
      return
    self._check_open()
    path = self.directory / f"{log}.jsonl"
    new = not path.exists()
    with path.open("a+b") as file:
      _cut_torn_line(file)
      file.write("".join(lines).encode())
      file.flush()
      os.fsync(file.fileno())
    if new:
      _sync_directory(self.directory)

  def rewind(self, step: int) -> None:
    """Drops every log line and event after `step`; -1 drops them all.

    Call it on resume, before anything is appended. Each file is replaced whole and doing it twice
    does no harm, so a rewind that was interrupted is finished by the next.
    """
    for log, keys in self._logs.items() if self.active else ():
      for part in _parts(self.directory, log):
        lines = part.read_bytes().splitlines(keepends=True)
        kept = [raw for raw in lines if (row := _parse(raw, keys)) and row["step"] <= step]
        if len(kept) < len(lines):
          self._replace(part, b"".join(kept))
    if self._run["events"]:
      self.update(events=[event for event in self.run["events"] if event["step"] <= step])

  def _check_open(self) -> None:
    if self._lock < 0:
      raise RecordsError(f"{self.directory}: the writer is closed")

  def _replace_json(self, name: str, value: Any) -> None:
    content = json.dumps(value, indent=2, allow_nan=False) + "\n"
    self._replace(self.directory / name, content.encode())

  def _replace(self, path: Path, content: bytes) -> None:
    if not self.active:
      return
    self._check_open()
    # One fixed name: the lock keeps others away, and what a kill leaves is overwritten next time.
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    temporary.replace(path)
    _sync_directory(self.directory)


def find_runs(root: str | os.PathLike[str]) -> list[Path]:
  """The run directories (those with a run.json) at `root` or up to two levels below, sorted.

  That covers a run, an experiment and a parent of experiments. Whether run.json can be read is
  not looked at: `read_run` says so.

  Raises:
    RecordsError: `root` is not a directory.
  """
  root = Path(root)
  if not root.is_dir():
    raise RecordsError(f"{root}: no such directory")
  found = {path.parent for pattern in ("", "*/", "*/*/") for path in root.glob(f"{pattern}run.json")}
  return sorted(directory for directory in found if not found.intersection(directory.parents))


def read_run(directory: str | os.PathLike[str]) -> Run:
  """Reads a run directory, also while it is written. Missing logs are empty.

  Raises:
    RecordsError: run.json or config.json cannot be read, or the schema is newer than ours.
  """
  directory = Path(directory)
  run = _EMPTY_RUN | _read_run_json(directory)
  try:
    for key, names in NESTED_KEYS.items():
      run[key] = {**dict.fromkeys(names), **(run[key] or {})}
    for key, names in LIST_KEYS.items():
      run[key] = [{**dict.fromkeys(names), **item} for item in run[key] or []]
  except TypeError as e:
    raise RecordsError(f"{directory / 'run.json'}: {key!r} has not the form it should") from e
  config = directory / "config.json"
  logs, torn = read_logs(directory, LOG_KEYS)
  return Run(directory, _read_json(config) if config.exists() else {}, run, torn=torn, **logs)


def read_logs(directory: Path, keys: Mapping[str, tuple[str, ...]]) -> tuple[dict[str, list[dict[str, Any]]], int]:
  """Returns the lines of each log, with every key that `keys` names for it, and how many lines were skipped."""
  parsed = {
    log: [_parse(raw, own) for part in _parts(directory, log) for raw in part.read_bytes().splitlines(keepends=True)]
    for log, own in keys.items()
  }
  logs = {log: [row for row in rows if row is not None] for log, rows in parsed.items()}
  return logs, sum(len(parsed[log]) - len(logs[log]) for log in keys)


def _lock(path: Path) -> int:
  """An open descriptor that holds the exclusive lock; the kernel drops it when the process dies."""
  import fcntl  # only the writer needs it, and logs are read on systems that do not have it

  descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as e:
    os.close(descriptor)
    held = isinstance(e, BlockingIOError)
    why = "another process is writing this run" if held else f"cannot be locked: {e.strerror}"
    raise RecordsError(f"{path.parent}: {why}") from e
  return descriptor


def _sync_directory(directory: Path) -> None:
  descriptor = os.open(directory, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _cut_torn_line(file: Any) -> None:
  """Cuts what follows the last newline of a file open for reading and appending."""
  end = file.seek(0, os.SEEK_END)
  if end == 0:
    return
  file.seek(end - 1)
  if file.read(1) != b"\n":
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)


def _check_keys(where: str, given: Iterable[str], allowed: tuple[str, ...]) -> None:
  unknown = [key for key in given if key not in allowed]
  if unknown:
    raise RecordsError(f"{where} has no key {unknown[0]!r}; its keys are {', '.join(allowed)}")


def _plain(value: Any, where: str) -> Any:
  """`value` as JSON holds it: numpy unwrapped, what is not finite as None."""
  if isinstance(value, np.generic | np.ndarray):
    value = value.tolist()
  if value is None or isinstance(value, str | bool | int):
    return value
  if isinstance(value, float):
    return value if math.isfinite(value) else None
  if isinstance(value, Mapping):
    return {str(key): _plain(item, where) for key, item in value.items()}
  if isinstance(value, list | tuple):
    return [_plain(item, where) for item in value]
  # Not an array of an accelerator either: reading one waits for the device, the caller's decision.
  raise RecordsError(f"{where} cannot hold a value of type {type(value).__name__}")


def _is_step(value: Any) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


def _parts(directory: Path, log: str) -> list[Path]:
  """The files that make up a log: `metrics.jsonl`, then `metrics-00001.jsonl` and on by number."""
  numbered = [
    (int(match[1]), path)
    for path in directory.glob(f"{log}-*.jsonl")
    if (match := re.fullmatch(rf"{log}-(\d+)\.jsonl", path.name))
  ]
  whole = directory / f"{log}.jsonl"
  return [*([whole] if whole.exists() else []), *(path for _, path in sorted(numbered))]


def _parse(raw: bytes, keys: tuple[str, ...]) -> dict[str, Any] | None:
  """One log line with every key of `keys`, or None where it is torn or no object with a step."""
  if not raw.endswith(b"\n"):
    return None  # the writer cuts it too, so reader and writer agree on what was logged
  with contextlib.suppress(ValueError):
    row = json.loads(raw, parse_constant=lambda _: None)
    if isinstance(row, dict) and _is_step(row.get("step")):
      return {**dict.fromkeys(keys), **row}
  return None


def _read_json(path: Path) -> dict[str, Any]:
  try:
    value = json.loads(path.read_bytes(), parse_constant=lambda _: None)
  except OSError as e:
    raise RecordsError(f"{path}: cannot be read: {e.strerror}") from e
  except ValueError as e:
    raise RecordsError(f"{path}: is not JSON: {e}") from e
  if not isinstance(value, dict):
    raise RecordsError(f"{path}: holds no JSON object")
  return value


def _read_run_json(directory: Path) -> dict[str, Any]:
  path = directory / "run.json"
  run = _read_json(path)
  if not isinstance(run.get("schema"), int) or run["schema"] > SCHEMA:
    raise RecordsError(f"{path}: schema {run.get('schema')!r}; this version reads up to {SCHEMA}")
  return run
