"""Timing of implementations in alternating runs, and the report that all benchmarks share."""

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
from absl import flags

ROUNDS = flags.DEFINE_integer("rounds", 3, "Timed runs of each implementation, alternating.", lower_bound=1)
SECONDS = flags.DEFINE_float("seconds", 5.0, "Approximate duration of a timed run.")
OUT = flags.DEFINE_string("out", "", "JSON file to write.")

RunSteps = Callable[[int], None]  # executes a number of steps and returns when they are complete


def alternate(
  implementations: Mapping[str, RunSteps], least: int = 2, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
  """Measures the throughput of implementations, whose timed runs alternate.

  Args:
    implementations: Implementations to compare, by name.
    least: Smallest number of steps of a timed run.
    clock: Function that returns the time in seconds.

  Returns:
    Steps per second of each implementation, one value per round, without the warm-up.
  """
  steps: dict[str, int] = {}
  rates: dict[str, list[float]] = {name: [] for name in implementations}
  for name, run in implementations.items():
    run(least)
    start = clock()
    run(least)
    steps[name] = max(least, round(least * SECONDS.value / (clock() - start)))
  for _ in range(ROUNDS.value):
    for name, run in implementations.items():
      start = clock()
      run(steps[name])
      rates[name].append(steps[name] / (clock() - start))
  return rates


def spread(values: Iterable[float], digits: int = 0) -> str:
  """Returns the text "median (lowest to highest)" of some values."""
  found = list(values)
  return f"{statistics.median(found):.{digits}f} ({min(found):.{digits}f} to {max(found):.{digits}f})"


def table(rows: list[dict[str, Any]]) -> str:
  """Returns rows with the same keys as a table of aligned columns."""
  names = list(rows[0])
  cells = [names, *([str(row[name]) for name in names] for row in rows)]
  widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
  return "\n".join(
    "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
  )


def report(rows: list[dict[str, Any]], **found: Any) -> None:
  """Prints the rows; with --out, writes them to a JSON file with the command, the hardware and the versions.

  Args:
    rows: Rows of the table, with the same keys.
    found: Further results for the JSON file.
  """
  print(table(rows))
  if not OUT.value:
    return
  circumstances = {
    "command": " ".join(["python", "-m", *sys.argv]),
    "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "device": jax.devices()[0].device_kind,
    "devices": jax.device_count(),
    "cores": len(os.sched_getaffinity(0)),
    "python": platform.python_version(),
    "versions": {name: importlib.metadata.version(name) for name in ("jax", "flax", "numpy")},
  }
  Path(OUT.value).write_text(json.dumps({**circumstances, "rows": rows, **found}, indent=1))
