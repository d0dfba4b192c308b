"""Export to MLflow, one experiment per experiment directory, in the store that MLFLOW_TRACKING_URI names."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from resjax.analysis.trackers.tracked_run import TrackedRun

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when MLflow is imported

import mlflow
from mlflow.entities import Metric, Param, Run

_KEY = "resjax.key"
_MAX_PARAMS, _MAX_METRICS = 100, 1000  # per request, limits of MLflow
_MAX_CHARACTERS = 5000  # of a value


def write(runs: Sequence[TrackedRun]) -> tuple[int, str]:
  """Writes the runs that are not in the store yet, and again those whose export was interrupted.

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
  """Writes a run unless it is in the store already; returns whether it was written."""
  existing = client.get_experiment_by_name(run.project)
  experiment = existing.experiment_id if existing else client.create_experiment(run.project)
  existing_runs: list[Run] = client.search_runs([experiment], filter_string=f"tags.`{_KEY}` = '{run.key}'")
  if any(each.info.status != "RUNNING" for each in existing_runs):
    return False
  for each in existing_runs:
    client.delete_run(each.info.run_id)
  tags = {_KEY: run.key} | {f"resjax.{name}": str(value)[:_MAX_CHARACTERS] for name, value in run.facts.items()}
  created = client.create_run(experiment, start_time=round(run.started * 1000), run_name=run.name, tags=tags)
  run_id = created.info.run_id
  params = [Param(key, str(value)[:_MAX_CHARACTERS]) for key, value in _flat(run.settings)]
  for i in range(0, len(params), _MAX_PARAMS):
    client.log_batch(run_id, params=params[i : i + _MAX_PARAMS])
  metrics = [Metric(each.tag, each.value, round(each.time * 1000), each.step) for each in run.scalars]
  for i in range(0, len(metrics), _MAX_METRICS):
    client.log_batch(run_id, metrics=metrics[i : i + _MAX_METRICS])
  client.set_terminated(run_id, "FAILED" if run.failed else "FINISHED", end_time=round(run.ended * 1000))
  return True


def _flat(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
  """Returns settings as pairs of dotted key and value."""
  pairs: list[tuple[str, Any]] = []
  for key, value in settings.items():
    pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
  return pairs
