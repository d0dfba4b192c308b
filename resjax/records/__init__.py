"""The run directory: schema, writer and reader.

    DIR/<experiment>/<run id>/
      run.json  config.json  metrics.jsonl  responses.jsonl  gradients.jsonl  lock

All files are JSON or JSON lines. Errors are fractions, times are UTC in ISO 8601, and numbers that are not finite are
null. This package does not import JAX, so that logs can be read where JAX is not installed.
"""

from resjax.records.archive import ARCHIVE, pack, unpack
from resjax.records.reader import find_runs, read_logs, read_run
from resjax.records.schema import (
  AT_CHANCE,
  DIVERGED,
  DONE,
  FAILED,
  LIST_KEYS,
  LOG_KEYS,
  NESTED_KEYS,
  PENDING,
  PREEMPTED,
  RUN_KEYS,
  RUNNING,
  SCHEMA,
  STATUSES,
  RecordsError,
  Run,
)
from resjax.records.writer import RunWriter, utc_now

__all__ = [
  "ARCHIVE",
  "AT_CHANCE",
  "DIVERGED",
  "DONE",
  "FAILED",
  "LIST_KEYS",
  "LOG_KEYS",
  "NESTED_KEYS",
  "PENDING",
  "PREEMPTED",
  "RUNNING",
  "RUN_KEYS",
  "SCHEMA",
  "STATUSES",
  "RecordsError",
  "Run",
  "RunWriter",
  "find_runs",
  "pack",
  "read_logs",
  "read_run",
  "unpack",
  "utc_now",
]
