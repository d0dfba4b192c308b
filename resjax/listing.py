"""Rows of `--list`, one per run, and the filter `--only`. Does not use JAX."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from resjax import data
from resjax.config import Config
from resjax.depth import Net
from resjax.settings import ConfigError
from resjax.sweep import Run

Row = dict[str, Any]
KEYS = ("id", "experiment", "variant", "kind", "depth", "shortcut", "seed", "params", "macs", "steps", "batch_size")

_describe = functools.cache(data.describe)


def net(settings: Config) -> Net:
  """Returns the layer table of a run's network for the images of its data set."""
  images = _describe(settings.data)
  if settings.data.has_boxes:
    return settings.detection.net(settings.model, images.classes)
  return settings.model.net(images.image_shape, images.classes)


def image_bytes(settings: Config) -> tuple[int, int]:
  """Returns the bytes of the images that each device holds during a run: of the training set, and of all others."""
  if settings.data.is_streamed or settings.data.has_boxes:
    return 0, 0
  images = _describe(settings.data)
  each = math.prod(images.image_shape)
  return images.train_images * each, (images.test_images + settings.data.validation_images) * each


def row(run: Run) -> Row:
  """Returns the row of a run, with the keys `KEYS`; the shortcut of a plain network is None."""
  settings, layers = run.config, net(run.config)
  values = (
    run.id,
    run.experiment,
    run.variant,
    settings.model.kind,
    settings.model.depth,
    settings.shortcut,
    settings.seed,
    layers.params,
    layers.macs,
    settings.train.steps,
    settings.train.batch_size,
  )
  return dict(zip(KEYS, values, strict=True))


def filter_runs(runs: Sequence[Run], expression: str) -> list[Run]:
  """Returns the runs that match an expression.

  Args:
    runs: Runs to filter.
    expression: Space-separated terms key=value[,value...], all of which must match; keys are `KEYS`.

  Raises:
    ConfigError: A key is unknown, or no run matches; the message lists the existing keys or values.
  """
  chosen = list(runs)
  for term in expression.split():
    key, equals, values = term.partition("=")
    if not equals or key not in KEYS:
      raise ConfigError(f"--only {term}: must be key=value[,value...] with a key of {', '.join(KEYS)}")
    present = {run.id: _text(row(run)[key]) for run in chosen}
    wanted = values.split(",")
    chosen = [run for run in chosen if present[run.id] in wanted]
    if not chosen:
      raise ConfigError(f"--only {term}: matches no run; {key} is {', '.join(dict.fromkeys(present.values()))}")
  return chosen


def _text(value: Any) -> str:
  return "null" if value is None else str(value)


def table(rows: Sequence[Row]) -> str:
  """Returns rows as text with aligned columns and a header; an empty string if there are no rows."""
  keys = list(rows[0]) if rows else []
  cells = [keys] + [
    [f"{value:,}" if key in ("params", "macs") else _text(value) for key, value in r.items()] for r in rows
  ]
  widths = [max(len(line[i]) for line in cells) for i in range(len(keys))]
  return "\n".join(
    "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
  )
