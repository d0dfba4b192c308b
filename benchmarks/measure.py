"""Timing in alternating runs, and what every benchmark writes beside its figures."""

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

ROUNDS = flags.DEFINE_integer("rounds", 3, "Timed runs of each side, in turn.", lower_bound=1)
SECONDS = flags.DEFINE_float("seconds", 5.0, "About how long one timed run takes.")
OUT = flags.DEFINE_string("out", "", "JSON file to write.")

Side = Callable[[int], None]  # does so many steps and returns when they are done


def alternate(
  sides: Mapping[str, Side], least: int = 2, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
  """Returns steps a second of every side, one figure a round; each side is warmed up first.

  Args:
    sides: what is compared, by name.
    least: steps of a timed run, at least.
    clock: what is timed by, in seconds.
  """
  steps: dict[str, int] = {}
  rates: dict[str, list[float]] = {name: [] for name in sides}
  for name, run in sides.items():
    run(least)
    start = clock()
    run(least)
    steps[name] = max(least, round(least * SECONDS.value / (clock() - start)))
  for _ in range(ROUNDS.value):
    for name, run in sides.items():
      start = clock()
      run(steps[name])
      rates[name].append(steps[name] / (clock() - start))
  return rates


def spread(values: Iterable[float], digits: int = 0) -> str:
  """Returns "median (lowest to highest)"."""
  found = list(values)
  return f"{statistics.median(found):.{digits}f} ({min(found):.{digits}f} to {max(found):.{digits}f})"


def table(rows: list[dict[str, Any]]) -> str:
  """Returns the rows as text in columns."""
  names = list(rows[0])
  cells = [names, *([str(row[name]) for name in names] for row in rows)]
  widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
  return "\n".join(
    "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
  )


def report(rows: list[dict[str, Any]], **found: Any) -> None:
  """Prints the rows, and with --out writes them as JSON with the circumstances and whatever else was found."""
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
