"""Writer of a run directory."""

import datetime
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resjax import files
from resjax.records.reader import read_run_json
from resjax.records.schema import (
  CONFIG,
  EMPTY_RUN,
  LOG_KEYS,
  PENDING,
  RUN_KEYS,
  SCHEMA,
  STATUSES,
  RecordsError,
  check_keys,
  is_step,
  last_part,
  parse,
  parts,
  plain,
)


def utc_now() -> str:
  """Returns the current time in the format of the records: 2015-12-10T19:51:55+00:00."""
  return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


class RunWriter:
  """Exclusive writer of a run directory, from construction to `close` or the end of `with`.

  JSON files are replaced atomically, and appended lines are on disk when the call returns. A process that is killed at
  any moment therefore leaves the old content, the new content or one incomplete last line. Objects in a bucket cannot
  be appended to; there each call of `append` writes the next numbered part of the log.

  If several processes train one run, only the first writes. The writers of the others are not `active`: they accept
  the same calls but do not write files.

  Args:
    directory: Run directory, on disk or in a bucket; created if it does not exist.
    active: Whether this writer writes files.
    logs: Keys of a line of each log.

  Raises:
    RecordsError: Another process writes to the directory, or the directory cannot be used. A bucket has no lock; there
      `append` raises the error if the next part of a log already exists.
  """

  def __init__(
    self, directory: str | os.PathLike[str], active: bool = True, logs: Mapping[str, tuple[str, ...]] = LOG_KEYS
  ):
    self.directory, self.active, self._logs, self._lock = files.as_path(directory), active, logs, -1
    self._run: dict[str, Any] = dict(EMPTY_RUN)
    self._written: dict[str, int] = {}  # number of the last part of each log in a bucket
    self._open = active
    if not active:
      return
    if not files.in_bucket(self.directory):
      try:
        self.directory.mkdir(parents=True, exist_ok=True)
      except OSError as e:
        raise RecordsError(f"{self.directory}: cannot be a run directory: {e.strerror}") from e
      self._lock = _lock(self.directory / "lock")
    try:
      if (self.directory / "run.json").exists():
        self._run |= read_run_json(self.directory)
    except RecordsError:
      self.close()
      raise

  def __enter__(self) -> "RunWriter":
    return self

  def __exit__(self, *_: object) -> None:
    self.close()

  def close(self) -> None:
    """Releases the directory for another writer. Closing twice is allowed."""
    self._open = False
    if self._lock >= 0:
      os.close(self._lock)
      self._lock = -1

  @property
  def run(self) -> dict[str, Any]:
    """A copy of the contents of run.json, or of its initial contents before the first `update`."""
    return json.loads(json.dumps(self._run))

  def update(self, **fields: Any) -> None:
    """Merges `fields` into run.json. Keys that were never set are null.

    Raises:
      RecordsError: A key is not in `RUN_KEYS`, or the status is not in `STATUSES`.
    """
    check_keys("run.json", fields, RUN_KEYS)
    if fields.get("status", PENDING) not in STATUSES:
      raise RecordsError(f"status {fields['status']!r} is none of {', '.join(STATUSES)}")
    merged = {**self._run, **plain(fields, "run.json"), "schema": SCHEMA}
    self._replace_json("run.json", merged)
    self._run = merged

  def event(self, step: int, name: str, detail: str = "") -> None:
    """Appends an event to run.json.

    Args:
      step: Step at which the event happened.
      name: Name of the event.
      detail: Description of the event.
    """
    self.update(events=[*self.run["events"], {"step": step, "name": name, "detail": detail}])

  def write_config(self, config: Mapping[str, Any]) -> None:
    """Replaces config.json."""
    self._replace_json(CONFIG, plain(config, CONFIG))

  def append(self, log: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends one JSON line per row to a log and syncs the file to disk.

    Keys that a row lacks are written as null, except `step`, which is required.

    Args:
      log: Name of the log; of a run: metrics, responses or gradients.
      rows: Lines to append.

    Raises:
      RecordsError: The log or a key is unknown, a step is not an integer, or JSON cannot represent a value.
    """
    if log not in self._logs:
      raise RecordsError(f"log {log!r} is none of {', '.join(self._logs)}")
    keys = self._logs[log]
    lines = []
    for row in rows:
      check_keys(f"{log}.jsonl", row, keys)
      line = {**dict.fromkeys(keys), **plain(row, f"{log}.jsonl")}
      if not is_step(line["step"]):
        raise RecordsError(f"{log}.jsonl: step must be an integer, not {line['step']!r}")
      lines.append(json.dumps(line, allow_nan=False) + "\n")
    if not self.active:
      return
    self._check_open()
    content = "".join(lines).encode()
    if files.in_bucket(self.directory):
      self._add_part(log, content)
      return
    path = self.directory / f"{log}.jsonl"
    new = not path.exists()
    with path.open("a+b") as file:
      _cut_torn_line(file)
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    if new:
      files.sync_directory(self.directory)

  def _claim(self, log: str) -> None:
    """Writes an empty next part of a log in a bucket, so that a previous writer of the log can no longer append."""
    self._written[log] = last_part(self.directory, log)
    if self._written[log]:
      self._add_part(log, b"")

  def _add_part(self, log: str, content: bytes) -> None:
    if log not in self._written:
      self._written[log] = last_part(self.directory, log)
    path = self.directory / f"{log}-{self._written[log] + 1:05}.jsonl"
    try:
      files.create(path, content)
    except FileExistsError:
      raise RecordsError(f"{self.directory}: another process is writing this run ({path.name} is there)") from None
    self._written[log] += 1

  def rewind(self, step: int) -> None:
    """Removes all log lines and events after `step`; -1 removes them all.

    It must be called on resume before anything is appended. Files are replaced atomically, and an interrupted rewind is
    completed by calling it again.
    """
    for log, keys in self._logs.items() if self.active else ():
      if files.in_bucket(self.directory):
        self._claim(log)
      there = parts(self.directory, log)
      for part, content in zip(there, files.read_all(there), strict=True):
        lines = content.splitlines(keepends=True)
        kept = [raw for raw in lines if (row := parse(raw, keys)) and row["step"] <= step]
        if len(kept) < len(lines):
          self._replace(part, b"".join(kept))
    if self._run["events"]:
      self.update(events=[event for event in self.run["events"] if event["step"] <= step])

  def _check_open(self) -> None:
    if not self._open:
      raise RecordsError(f"{self.directory}: the writer is closed")

  def _replace_json(self, name: str, value: Any) -> None:
    content = json.dumps(value, indent=2, allow_nan=False) + "\n"
    self._replace(self.directory / name, content.encode())

  def _replace(self, path: Path, content: bytes) -> None:
    if not self.active:
      return
    self._check_open()
    files.write_atomically(path, content)


def _lock(path: Path) -> int:
  """Returns an open file descriptor that holds an exclusive lock, which the kernel releases when the process ends.

  Raises:
    RecordsError: Another process holds the lock, or the file cannot be locked.
  """
  import fcntl  # not available on all systems where logs are read

  descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except OSError as e:
    os.close(descriptor)
    held = isinstance(e, BlockingIOError)
    why = "another process is writing this run" if held else f"cannot be locked: {e.strerror}"
    raise RecordsError(f"{path.parent}: {why}") from e
  return descriptor


def _cut_torn_line(file: Any) -> None:
  """Truncates a file, open for reading and appending, after its last newline."""
  end = file.seek(0, os.SEEK_END)
  if end == 0:
    return
  file.seek(end - 1)
  if file.read(1) != b"\n":
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
