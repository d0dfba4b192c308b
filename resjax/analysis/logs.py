"""Run directories as tidy pandas frames."""

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

# Stand at the left of every frame. `net` is the id without its seed: runs of one net differ in
# nothing but the seed, so they may be averaged.
ID_COLUMNS = ("id", "experiment", "variant", "net", "kind", "depth", "shortcut", "seed")
_RUN_COLUMNS = (
  *("question", "status", "reason", "params", "macs", "config_digest", "started", "ended"),
  *("step", "steps", "commit", "command", "params_digest"),
)
_NESTED = ("data", "backbone")  # of run.json; their keys are columns with the name in front
_INTEGERS = frozenset(
  {"depth", "seed", "step", "steps", "params", "macs", "layer", "stage", "block", "units"}
  | {"images", "data_images", "backbone_step", "best_step", "test_images", "torn"}
  | {"count", "trial", "length", "blocks_of_net", "index", "iterations", "batch_size", "to_depth", "from_depth"}
  | {"position", "channels", "every", "cka_images", "first", "tile", "other_step", "other_tile", "layers_above"}
  | {"probe", "parameters", "at", "checkpoints"}
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
_SETTINGS = frozenset({"paper", "here", "value"})  # of any type
# Keys of study logs that would hide a column of the identity, or mean something else in another log.
_STUDY_NAMES = {
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

  All frames start with the columns id, experiment, variant, net, kind, depth, shortcut, seed.
  Errors are fractions; what was null is missing.

  Attributes:
    runs: one row a run: run.json, with its result, data, backbone, devices and versions as plain columns.
    metrics: one row a line of metrics.jsonl; likewise `responses` and `gradients`.
    deviations: one row a deviation of a run from the paper (name, paper, here).
    events: one row an event of a run (step, name, detail).
    settings: one row a setting of a run (key, dotted; value), from config.json.
    studies: of each study ("lesions", "paths", ...) one row a line of its log. `kind` of a lesion is the column
      `lesion`, `seed` of what was drawn `draw_seed`, `depth` of a deepened net `to_depth`, `blocks` there are in a net
      `blocks_of_net`: the columns on the left are those of the run.
    problems: one line for each run directory that could not be read.
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

  @functools.cached_property
  def labels(self) -> dict[str, str]:
    """The label of each network by its key, in the order of `networks`."""
    return {net.key: net.label for net in self.networks}

  def write_parquet(self, directory: str | os.PathLike[str]) -> list[Path]:
    """Writes every frame that has rows as `<name>.parquet`, studies as `study_<name>.parquet`. Needs pyarrow.

    Values of several types (of settings, deviations) are written as JSON.

    Returns:
      The files.
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
        _one_type_a_column(frame).to_parquet(written[-1], index=False)
    return written


def load(root: str | os.PathLike[str]) -> Logs:
  """Reads every run at or below `root` (a run, an experiment, or a parent of experiments).

  A run directory that cannot be read becomes a line in `problems`, and the others are read.

  Raises:
    records.RecordsError: `root` is not a directory, or there is no run in it.
  """
  root = files.as_path(root)
  directories = records.find_runs(root)
  if not directories:
    raise records.RecordsError(f"{root}: holds no run (no run.json in it or two levels below)")
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
  names = _STUDY_NAMES.get(log, {})
  return [{names.get(key, key): value for key, value in row.items()} for row in studies[run.directory][log]]


def _study_columns(log: str) -> tuple[str, ...]:
  names = _STUDY_NAMES.get(log, {})
  return (*ID_COLUMNS, *(names.get(key, key) for key in study_records.LOG_KEYS[log]))


def _settings(run: records.Run) -> list[dict[str, Any]]:
  def flat(values: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    rows = []
    for key, value in values.items():
      rows += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [{"key": prefix + key, "value": value}]
    return rows

  return flat(run.config, "")


def _one_type_a_column(frame: pd.DataFrame) -> pd.DataFrame:
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
  # A run directory carries its run's id as name, so a record without one still has an identity.
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
  # The log's own keys come first: a newer writer may repeat a name of the identity in its lines.
  return _frame([{**row, **_identity(run)} for run in runs for row in rows(run)], columns)


def _frame(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pd.DataFrame:
  """Returns a frame with the known columns in order, then any that a newer writer added."""
  added = sorted({key for row in rows for key in row} - set(columns))
  frame = pd.DataFrame(rows, columns=[*columns, *added])
  for key in columns:
    # A log is read as far as it can be: what is no number where one belongs is missing.
    if key in _INTEGERS:
      frame[key] = pd.to_numeric(frame[key], errors="coerce").round().astype("Int64")
    elif key in _FLOATS:
      frame[key] = pd.to_numeric(frame[key], errors="coerce").astype("float64")
    elif key in _SETTINGS:  # as they were written: 2000 steps are not 2000.0 because a rate stands below them
      frame[key] = pd.Series([row.get(key) for row in rows], dtype="object")
  return frame
