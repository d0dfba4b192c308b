"""Contents of run directories as tidy data frames."""

import dataclasses
import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from resjax import files, records, study_records
from resjax.analysis.networks import Network, label_networks

# The first columns of every frame. `net` is the id without its seed: the runs of one network differ only in the seed.
ID_COLUMNS = ("id", "experiment", "variant", "net", "kind", "depth", "shortcut", "seed")
_RUN_COLUMNS = (
  *("question", "status", "reason", "params", "macs", "config_digest", "started", "ended"),
  *("step", "steps", "commit", "command", "params_digest"),
)
_NESTED = ("data", "backbone")  # objects in run.json, whose keys become columns such as data_name
_INTEGERS = frozenset(
  {"depth", "seed", "step", "steps", "params", "macs", "layer", "stage", "block", "units"}
  | {"images", "data_images", "backbone_step", "best_step", "test_images", "torn"}
  | {"count", "trial", "length", "blocks_of_net", "index", "iterations", "batch_size", "to_depth", "from_depth"}
  | {"position", "channels", "every", "cka_images", "first", "tile", "other_step", "other_tile", "layers_above"}
  | {"probe", "parameters", "at", "checkpoints", "draw_seed", "statistics_images"}
  | {"eigenvalues", "max_iterations"}
)
_FLOATS = frozenset(
  {"training_macs", "epoch", "loss", "error", "learning_rate", "seconds", "images_per_second", "std", "mean"}
  | {"norm", "weight_norm", "train_error", "test_error", "best_test_error", "backbone_test_error"}
  | {"share", "tau", "alpha", "beta", "eigenvalue", "residual", "difference", "error_before"}
  | {"input_std", "branch_std"}
  | {"separation", "nearest_mean_error", "ridge_error", "head_error", "head_loss"}
  | {"step_length", "alignment", "cka_previous"}
  | {"input_squared_mean", "input_variance", "branch_squared_mean", "branch_variance"}
  | {"gradient_norm", "gradient_cosine"}
  | {"trace", "first_share", "second_share", "distance", "plane_distance", "plane_loss", "plane_error"}
)
_ANY_TYPE = frozenset({"paper", "here", "value"})  # values of settings
# New names for keys of study logs that collide with `ID_COLUMNS` or have another meaning in another log.
_RENAMED_KEYS = {
  "lesions": {"kind": "lesion", "seed": "draw_seed"},
  "paths": {"blocks": "blocks_of_net"},
  "landscape": {"seed": "draw_seed"},
  "hessian": {"seed": "draw_seed"},
  "spectrum": {"seed": "draw_seed"},
  "trace": {"seed": "draw_seed"},
  "identity": {"depth": "to_depth"},
  "init": {"seed": "draw_seed"},
}
_KIND_ORDER = ("plain", "residual")


@dataclasses.dataclass(frozen=True)
class Logs:
  """The contents of all run directories below a root, one frame per kind of record.

  All frames start with the columns id, experiment, variant, net, kind, depth, shortcut, seed of the run. Errors are
  fractions; null in the records is missing in the frames.

  Attributes:
    root: Directory below which the run directories are.
    runs: One row per run: run.json, with result, data, backbone, devices and versions as plain columns.
    metrics: One row per line of metrics.jsonl.
    responses: One row per line of responses.jsonl.
    gradients: One row per line of gradients.jsonl.
    average_precision: One row per class, split and evaluation of a detector.
    detections: One row per recorded detection of a detector.
    pictures: One row per recorded image of a detector.
    deviations: One row per deviation of a run from the paper (name, paper, here).
    events: One row per event of a run (step, name, detail).
    settings: One row per setting of a run (dotted key, value), from config.json.
    studies: By name of the study's log ("lesions", "paths", ...), one row per line. Keys that collide with the columns
      of the run are renamed: `kind` of a lesion to `lesion`, `seed` of random draws to `draw_seed`, `depth` of a
      deepened network to `to_depth`, number of `blocks` of a network to `blocks_of_net`.
    problems: One line for each run directory that could not be read.
  """

  root: Path
  runs: pd.DataFrame
  metrics: pd.DataFrame
  responses: pd.DataFrame
  gradients: pd.DataFrame
  average_precision: pd.DataFrame
  detections: pd.DataFrame
  pictures: pd.DataFrame
  deviations: pd.DataFrame
  events: pd.DataFrame
  settings: pd.DataFrame
  studies: Mapping[str, pd.DataFrame]
  problems: tuple[str, ...]

  @functools.cached_property
  def networks(self) -> tuple[Network, ...]:
    """The networks of the runs, plain before residual and shallow before deep.

    Raises:
      ValueError: Two runs have the same id.
    """
    return tuple(label_networks(self.runs))

  def finished(self, net: Network) -> pd.DataFrame:
    """Returns the rows of `runs` of a network that have the status done."""
    return self.runs[(self.runs["net"] == net.key) & (self.runs["status"] == records.DONE)]

  def setting(self, key: str) -> pd.Series:
    """Returns the values of the setting with a dotted key by run id; runs without it are left out."""
    return self.settings[self.settings["key"] == key].set_index("id")["value"]

  def settings_of(self, run: str) -> dict[str, Any]:
    """Returns the settings of the run with an id by dotted key."""
    settings = self.settings[self.settings["id"] == run]
    return dict(zip(settings["key"], settings["value"], strict=True))

  @functools.cached_property
  def labels(self) -> dict[str, str]:
    """The label of each network by its key, in the order of `networks`."""
    return {net.key: net.label for net in self.networks}

  def write_parquet(self, directory: str | os.PathLike[str]) -> list[Path]:
    """Writes every frame that is not empty as `<name>.parquet`, and studies as `study_<name>.parquet`. Needs pyarrow.

    Columns with values of several types (in settings and deviations) are written as JSON.

    Args:
      directory: Directory for the files, created if necessary.

    Returns:
      Paths of the files.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
    frames = {name: frame for name, frame in named.items() if isinstance(frame, pd.DataFrame)}
    frames |= {f"study_{name}": frame for name, frame in self.studies.items()}
    written = []
    for name, frame in frames.items():
      if not frame.empty:
        written.append(directory / f"{name}.parquet")
        _json_columns(frame).to_parquet(written[-1], index=False)
    return written


def load(root: str | os.PathLike[str]) -> Logs:
  """Reads every run at or below a directory.

  If a run directory cannot be read, a line in `problems` says so, and the others are read.

  Args:
    root: Directory of a run, of an experiment, or a parent of several experiments.

  Returns:
    The logs, with plain before residual and shallow before deep networks.

  Raises:
    records.RecordsError: `root` is not a directory, or contains no run.
  """
  root = files.as_path(root)
  directories = records.find_runs(root)
  if not directories:
    raise records.RecordsError(f"{root}: holds no run (no run.json in it or up to two levels below)")
  runs, problems = [], []
  studies: dict[Path, dict[str, list[dict[str, Any]]]] = {}
  for directory in directories:
    try:
      run = records.read_run(directory)
      studies[directory], torn = study_records.read(directory)
      runs.append(dataclasses.replace(run, torn=run.torn + torn))
    except records.RecordsError as e:
      problems.append(str(e).replace(f"{root}{os.sep}", "", 1))
  runs.sort(key=_reading_order)
  columns = {log: (*ID_COLUMNS, *keys) for log, keys in records.LOG_KEYS.items()}
  lists = {key: (*ID_COLUMNS, *keys) for key, keys in records.LIST_KEYS.items()}
  return Logs(
    root=root,
    runs=_frame([_run_row(run, root) for run in runs], _run_columns()),
    metrics=_joined(runs, lambda run: run.metrics, columns["metrics"]),
    responses=_joined(runs, lambda run: run.responses, columns["responses"]),
    gradients=_joined(runs, lambda run: run.gradients, columns["gradients"]),
    average_precision=_joined(runs, lambda run: run.average_precision, columns["average_precision"]),
    detections=_joined(runs, lambda run: run.detections, columns["detections"]),
    pictures=_joined(runs, lambda run: run.pictures, columns["pictures"]),
    deviations=_joined(runs, lambda run: run.run["deviations"], lists["deviations"]),
    events=_joined(runs, lambda run: run.run["events"], lists["events"]),
    settings=_joined(runs, _settings, (*ID_COLUMNS, "key", "value")),
    studies={
      log: _joined(runs, functools.partial(_studied, studies, log), _study_columns(log))
      for log in study_records.LOG_KEYS
    },
    problems=tuple(problems),
  )


def _studied(
  studies: Mapping[Path, Mapping[str, list[dict[str, Any]]]], log: str, run: records.Run
) -> list[dict[str, Any]]:
  names = _RENAMED_KEYS.get(log, {})
  return [{names.get(key, key): value for key, value in row.items()} for row in studies[run.directory][log]]


def _study_columns(log: str) -> tuple[str, ...]:
  names = _RENAMED_KEYS.get(log, {})
  return (*ID_COLUMNS, *(names.get(key, key) for key in study_records.LOG_KEYS[log]))


def _settings(run: records.Run) -> list[dict[str, Any]]:
  def flat(values: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    rows = []
    for key, value in values.items():
      rows += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [{"key": prefix + key, "value": value}]
    return rows

  return flat(run.config, "")


def _json_columns(frame: pd.DataFrame) -> pd.DataFrame:
  """Returns the frame with columns of several types written as JSON, because a Parquet column has one type."""
  plain = frame.copy()
  for column in plain.columns[plain.dtypes == "object"]:
    if not plain[column].dropna().map(lambda value: isinstance(value, str)).all():
      plain[column] = [None if value is None else json.dumps(value) for value in plain[column]]
  return plain


def _run_columns() -> tuple[str, ...]:
  nested = (f"{name}_{key}" for name in _NESTED for key in records.NESTED_KEYS[name])
  result = records.NESTED_KEYS["result"]
  return (*ID_COLUMNS, *_RUN_COLUMNS, *nested, *result, "devices", "versions", "torn", "directory")


def _run_row(run: records.Run, root: Path) -> dict[str, Any]:
  devices, versions = run.run["devices"], run.run["versions"] or {}
  return {
    **_identity(run),
    **{key: run.run[key] for key in _RUN_COLUMNS},
    **{f"{name}_{key}": value for name in _NESTED for key, value in run.run[name].items()},
    **run.run["result"],
    "devices": _devices(devices),
    "versions": ", ".join(f"{name} {versions[name]}" for name in sorted(versions)) or None,
    "torn": run.torn,
    "directory": run.directory.relative_to(root).as_posix(),
  }


def _devices(devices: Mapping[str, Any]) -> str | None:
  if devices["platform"] is None:
    return None
  kind = f" ({devices['kind']})" if devices["kind"] else ""
  processes = f" in {devices['processes']} processes" if (devices["processes"] or 1) > 1 else ""
  return f"{devices['count']} x {devices['platform']}{kind}{processes}"


def _identity(run: records.Run) -> dict[str, Any]:
  # The name of a run directory is the id of the run, in case the record has none.
  identity = {key: run.run[key] for key in ID_COLUMNS if key != "net"}
  identity["id"] = identity["id"] or run.directory.name
  identity["net"] = identity["id"].removesuffix(f"-s{identity['seed']}")
  return {key: identity[key] for key in ID_COLUMNS}


def _reading_order(run: records.Run) -> tuple[Any, ...]:
  identity = _identity(run)
  kind = identity["kind"] or ""
  return (
    *(identity["experiment"] or "", identity["variant"] or ""),
    *(_KIND_ORDER.index(kind) if kind in _KIND_ORDER else len(_KIND_ORDER), kind),
    *(identity["depth"] or 0, identity["shortcut"] or "", identity["net"], identity["seed"] or 0),
  )


def _joined(
  runs: Iterable[records.Run],
  rows: Callable[[records.Run], list[dict[str, Any]]],
  columns: tuple[str, ...],
) -> pd.DataFrame:
  # The identity overrides keys of the line, because a newer writer may use the same names.
  return _frame([{**row, **_identity(run)} for run in runs for row in rows(run)], columns)


def _frame(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
  """Returns a frame with the known columns in order, followed by any that a newer writer added."""
  added = sorted({key for row in rows for key in row} - set(columns))
  frame = pd.DataFrame(rows, columns=[*columns, *added])
  for key in columns:
    # Values that should be numbers but are not become missing, so that the rest of the log can be read.
    if key in _INTEGERS:
      frame[key] = pd.to_numeric(frame[key], errors="coerce").round().astype("Int64")
    elif key in _FLOATS:
      frame[key] = pd.to_numeric(frame[key], errors="coerce").astype("float64")
    elif key in _ANY_TYPE:  # pandas would turn 2000 steps into 2000.0 if the column also has a learning rate
      frame[key] = pd.Series([row.get(key) for row in rows], dtype="object")
  return frame
