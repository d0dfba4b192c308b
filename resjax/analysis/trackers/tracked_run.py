"""Runs in the form that experiment trackers need: settings, facts, and scalars by step."""

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pandas as pd

from resjax import records
from resjax.analysis.logs import Logs

_METRICS = ("loss", "error", "learning_rate", "images_per_second")
_LAYERS = (("responses", "std", "response"), ("gradients", "norm", "gradient"))
_FACTS = (
  *("kind", "depth", "shortcut", "seed", "question", "status", "reason", "params", "macs", "config_digest"),
  *("started", "ended", "step", "steps", "commit", "command", "params_digest", "devices", "versions"),
  *("data_name", "data_images", "data_digest"),
)
_ENDED = (records.DONE, records.FAILED)


class Scalar(NamedTuple):
  """A number of a run.

  Attributes:
    step: Step at which it was measured.
    time: Time of the measurement in seconds since 1970, as far as the log contains it.
    tag: `<metric>/<split>`, `response/<layer>`, `gradient/<layer>`, or `result/<key>` for the final result.
    value: The number.
  """

  step: int
  time: float
  tag: str
  value: float


@dataclasses.dataclass(frozen=True)
class TrackedRun:
  """An ended run.

  Attributes:
    project: Experiment and variant, as in the name of their directory.
    name: Id of the run.
    key: Identifier in trackers, 16 hexadecimal digits, which changes if the run is trained again.
    failed: Whether the run failed.
    started: Start in seconds since 1970.
    ended: End in seconds since 1970.
    settings: Settings as nested mappings, as in config.json.
    facts: Other values of run.json by key.
    scalars: All scalars, sorted by step.
  """

  project: str
  name: str
  key: str
  failed: bool
  started: float
  ended: float
  settings: dict[str, Any]
  facts: dict[str, Any]
  scalars: tuple[Scalar, ...]

  def rows(self) -> Iterator[tuple[int, dict[str, float]]]:
    """Yields each step with the values of its scalars by tag."""
    for step, group in itertools.groupby(self.scalars, key=lambda scalar: scalar.step):
      yield step, {scalar.tag: scalar.value for scalar in group}


def tracked_runs(logs: Logs) -> list[TrackedRun]:
  """Returns the runs that are done or failed, in the order of `logs.runs`."""
  return [_tracked(logs, run) for run in logs.runs.to_dict("records") if run["status"] in _ENDED]


def scalars(logs: Logs, run: Mapping[Any, Any]) -> list[Scalar]:
  """Returns the scalars in the logs of a run: metrics, responses and gradient norms.

  Args:
    logs: Logs of the runs.
    run: Row of the run in `logs.runs`.
  """
  result, started = [], _seconds(run["started"])
  lines = _of_run(logs.metrics, run)
  times = started + lines["seconds"].where(lines["split"] == "train", 0.0).fillna(0.0).cumsum()
  for time, line in zip(times, lines.to_dict("records"), strict=True):
    present = (name for name in _METRICS if not pd.isna(line[name]))
    result += [Scalar(line["step"], time, f"{name}/{line['split']}", line[name]) for name in present]
  for log, column, tag in _LAYERS:
    captured = _of_run(getattr(logs, log), run).dropna(subset=[column])
    result += [
      Scalar(line["step"], started, f"{tag}/{line['layer']:04d}", line[column]) for line in captured.to_dict("records")
    ]
  return result


def _tracked(logs: Logs, run: Mapping[Any, Any]) -> TrackedRun:
  project = "-".join(filter(None, (_text(run[key]) for key in ("experiment", "variant")))) or "resjax"
  identity = "\n".join([project, *(_text(run[key]) for key in ("id", "config_digest", "ended"))])
  started, ended = _seconds(run["started"]), _seconds(run["ended"])
  result = {key: run[key] for key in records.NESTED_KEYS["result"] if not pd.isna(run[key])}
  last = [Scalar(int(run["step"]), ended, f"result/{key}", float(value)) for key, value in result.items()]
  settings = _of_run(logs.settings, run)
  return TrackedRun(
    project=project,
    name=run["id"],
    key=hashlib.sha256(identity.encode()).hexdigest()[:16],
    failed=run["status"] == records.FAILED,
    started=started,
    ended=ended,
    settings=functools.reduce(_insert, zip(settings["key"], settings["value"], strict=True), {}),
    facts={key: run[key] for key in _FACTS if not pd.isna(run[key])},
    scalars=tuple(sorted([*scalars(logs, run), *last], key=lambda scalar: scalar.step)),
  )


def _of_run(frame: pd.DataFrame, run: Mapping[Any, Any]) -> pd.DataFrame:
  """Returns the rows of one run; runs of several experiments may have the same id."""
  same = [frame[key].fillna("") == _text(run[key]) for key in ("experiment", "variant", "id")]
  return frame[same[0] & same[1] & same[2]]


def _insert(nested: dict[str, Any], setting: tuple[str, Any]) -> dict[str, Any]:
  """Adds a setting with a dotted key to nested mappings."""
  *sections, name = setting[0].split(".")
  functools.reduce(lambda values, section: values.setdefault(section, {}), sections, nested)[name] = setting[1]
  return nested


def _text(value: Any) -> str:
  """Returns a value of run.json as text, "" if it is missing."""
  return "" if pd.isna(value) else str(value)


def _seconds(time: Any) -> float:
  """Returns a time of the records in seconds since 1970; 0 if it is missing."""
  parsed = pd.to_datetime(time, errors="coerce", utc=True)
  return 0.0 if pd.isna(parsed) else parsed.timestamp()
