"""Export to MLflow: an experiment for each experiment directory, on the store of MLFLOW_TRACKING_URI."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from resjax.analysis.trackers.tracked_run import TrackedRun

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported

import mlflow
from mlflow.entities import Metric, Param, Run

_KEY = "resjax.key"
_PARAMS, _METRICS = 100, 1000  # most of a request, limits of MLflow
_LONGEST = 5000  # characters of a value


def write(runs: Sequence[TrackedRun]) -> tuple[int, str]:
  """Writes the runs that are not there; one whose export was interrupted is written again.

  Returns:
    Number of runs written, and the store.

  Raises:
    OSError: The store cannot be used.
  """
  for name in ("mlflow", "alembic"):
    logging.getLogger(name).setLevel(logging.WARNING)
  store = mlflow.get_tracking_uri()
  try:
    client = mlflow.MlflowClient()
    written = sum(_write(client, run) for run in runs)
  except mlflow.exceptions.MlflowException as error:
    raise OSError(f"MLflow at {store}: {error}; MLFLOW_TRACKING_URI names another store") from error
  return written, store


def _write(client: mlflow.MlflowClient, run: TrackedRun) -> bool:
  """Writes a run unless it is there; returns whether it did."""
  there = client.get_experiment_by_name(run.project)
  experiment = there.experiment_id if there else client.create_experiment(run.project)
  found: list[Run] = client.search_runs([experiment], filter_string=f"tags.`{_KEY}` = '{run.key}'")
  if any(each.info.status != "RUNNING" for each in found):
    return False
  for each in found:
    client.delete_run(each.info.run_id)
  tags = {_KEY: run.key} | {f"resjax.{name}": str(value)[:_LONGEST] for name, value in run.facts.items()}
  created = client.create_run(experiment, start_time=round(run.started * 1000), run_name=run.name, tags=tags)
  to = created.info.run_id
  params = [Param(key, str(value)[:_LONGEST]) for key, value in _flat(run.settings)]
  for i in range(0, len(params), _PARAMS):
    client.log_batch(to, params=params[i : i + _PARAMS])
  metrics = [Metric(each.tag, each.value, round(each.time * 1000), each.step) for each in run.scalars]
  for i in range(0, len(metrics), _METRICS):
    client.log_batch(to, metrics=metrics[i : i + _METRICS])
  client.set_terminated(to, "FAILED" if run.failed else "FINISHED", end_time=round(run.ended * 1000))
  return True


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
  """Returns settings as pairs of dotted key and value."""
  pairs: list[tuple[str, Any]] = []
  for key, value in settings.items():
    pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
  return pairs
