"""The run directory: its schema, its one writer, its tolerant reader.

    DIR/<experiment>/<run id>/
      run.json  config.json  metrics.jsonl  responses.jsonl  gradients.jsonl  lock

Everything is plain JSON or JSON lines. Errors are fractions, times are UTC in ISO 8601, a number
that is not finite is null. This module imports no JAX, so logs can be read where none is installed.
"""

from resjax.records.reader import find_runs, read_logs, read_run
from resjax.records.schema import (
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
  "read_logs",
  "read_run",
  "utc_now",
]
