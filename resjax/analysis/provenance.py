"""Provenance of the runs: commands, versions, hardware, data and duration."""

import datetime
import math

from resjax.analysis import formats
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import run_commands

_RECORDED = {
  "Commit": "commit",
  "Devices": "devices",
  "Versions": "versions",
  "Data set": "data_name",
  "Images": "data_images",
  "Data digest": "data_digest",
}


def provenance(logs: Logs) -> dict[str, list[str]]:
  """Returns the distinct values of each item of provenance, in the order of the runs.

  Args:
    logs: Logs of one experiment.

  Returns:
    Values by item, without items that have none. "Minutes" is the time during which at least one run was training or
    being evaluated, without startup, compilation and captures.
  """
  runs = logs.runs.assign(data_images=logs.runs["data_images"].dropna().map(formats.count))
  items = {"Command": list(run_commands(logs)), "Studied by": list(logs.studies["commands"]["command"].unique())}
  items |= {name: list(runs[column].dropna().unique()) for name, column in _RECORDED.items()}
  seconds = training_seconds(logs)
  items["Minutes"] = [formats.number(seconds / 60, 1)] if seconds else []
  return {name: values for name, values in items.items() if values}


def training_seconds(logs: Logs) -> float:
  """Returns the time in seconds during which at least one run was training; simultaneous runs count once.

  The records give each run's start and the durations of its steps and evaluations. Pauses between a run and its
  continuation are not recorded, so each run is taken as one interval of the summed durations from its start on.
  """
  started = logs.runs.set_index("id")["started"].dropna()
  starts = {run: datetime.datetime.fromisoformat(text).timestamp() for run, text in started.items()}
  durations = logs.metrics.groupby("id")["seconds"].sum()
  total, latest_end = 0.0, -math.inf
  for start, duration in sorted((starts[run], duration) for run, duration in durations.items() if run in starts):
    total += max(start + duration - max(start, latest_end), 0.0)
    latest_end = max(latest_end, start + duration)
  return total
