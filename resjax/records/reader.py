"""Reader of run directories, including those that are still being written or have damaged lines."""

import json
import os
import reprlib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resjax import files
from resjax.records.schema import (
  EMPTY_RUN,
  FORMS,
  LIST_KEYS,
  LOG_KEYS,
  NESTED_KEYS,
  RENAMED_SETTINGS,
  SCHEMA,
  RecordsError,
  Run,
  parse,
  parts,
)

_FORM_NAMES: dict[Any, str] = {
  str: "a string",
  int: "an integer",
  int | float: "a number",
  dict: "an object",
  list[dict]: "a list of objects",
}


def find_runs(root: str | os.PathLike[str]) -> list[Path]:
  """Returns the sorted run directories at `root` and up to two levels below it: those that contain a run.json.

  `root` can thus be a run, an experiment or a directory of experiments. The contents of run.json are not checked here.

  Raises:
    RecordsError: `root` is not a directory.
  """
  root = files.as_path(root)
  if not root.is_dir():
    raise RecordsError(f"{root}: no such directory")
  found = {path.parent for pattern in ("", "*/", "*/*/") for path in root.glob(f"{pattern}run.json")}
  return sorted(directory for directory in found if not found.intersection(directory.parents))


def read_run(directory: str | os.PathLike[str]) -> Run:
  """Reads a run directory, which may still be written to. Missing logs are empty.

  Raises:
    RecordsError: run.json or config.json cannot be read, a value has another type, or the schema is newer than this
      version supports.
  """
  directory = files.as_path(directory)
  run, path = EMPTY_RUN | read_run_json(directory), directory / "run.json"
  for key, form in FORMS.items():
    _check(path, key, run[key], form)
  for key, names in NESTED_KEYS.items():
    _check(path, key, run[key], dict)
    run[key] = {**dict.fromkeys(names), **(run[key] or {})}
  for key, names in LIST_KEYS.items():
    _check(path, key, run[key], list[dict])
    run[key] = [{**dict.fromkeys(names), **item} for item in run[key] or []]
  for key in NESTED_KEYS["result"]:
    _check(path, f"result.{key}", run["result"][key], int | float)
  logs, torn = read_logs(directory, LOG_KEYS)
  return Run(directory, _read_config(directory / "config.json"), run, torn=torn, **logs)


def _read_config(path: Path) -> dict[str, Any]:
  """Returns the settings in config.json under their current names, or {} if the file does not exist."""
  if not path.exists():
    return {}
  config = _read_json(path)
  for section, old, new in RENAMED_SETTINGS:
    values = config.get(section)
    if isinstance(values, dict) and old in values:
      values[new] = values.pop(old)
  return config


def read_logs(directory: Path, keys: Mapping[str, tuple[str, ...]]) -> tuple[dict[str, list[dict[str, Any]]], int]:
  """Reads the logs of a run directory.

  Args:
    directory: Run directory.
    keys: Keys of a line of each log; a key that a line lacks is None.

  Returns:
    Lines of each log, and the number of lines that were skipped because they could not be parsed.
  """
  parsed = {
    log: [
      parse(raw, own) for content in files.read_all(parts(directory, log)) for raw in content.splitlines(keepends=True)
    ]
    for log, own in keys.items()
  }
  logs = {log: [row for row in rows if row is not None] for log, rows in parsed.items()}
  return logs, sum(len(parsed[log]) - len(logs[log]) for log in keys)


def _check(path: Path, key: str, value: Any, form: Any) -> None:
  """Raises RecordsError if a value of a file is neither null nor of the type `form`, a key of `_FORM_NAMES`."""
  outer, items = typing.get_origin(form), typing.get_args(form)
  if outer is list:
    valid = isinstance(value, list) and all(isinstance(item, items) for item in value)
  else:
    valid = isinstance(value, form)
  if value is not None and not valid:
    raise RecordsError(f"{path}: {key!r} is {reprlib.repr(value)}, must be {_FORM_NAMES[form]}")


def _read_json(path: Path) -> dict[str, Any]:
  try:
    value = json.loads(path.read_bytes(), parse_constant=lambda _: None)
  except OSError as e:
    raise RecordsError(f"{path}: cannot be read: {e.strerror or e}") from e
  except ValueError as e:
    raise RecordsError(f"{path}: is not JSON: {e}") from e
  if not isinstance(value, dict):
    raise RecordsError(f"{path}: does not contain a JSON object")
  return value


def read_run_json(directory: Path) -> dict[str, Any]:
  """Returns the contents of run.json, without filling in missing keys.

  Raises:
    RecordsError: The file cannot be read, or its schema is newer than this version supports.
  """
  path = directory / "run.json"
  run = _read_json(path)
  if not isinstance(run.get("schema"), int) or run["schema"] > SCHEMA:
    raise RecordsError(f"{path}: schema {run.get('schema')!r}; this version reads up to {SCHEMA}")
  return run
