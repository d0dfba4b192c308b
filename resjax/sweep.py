"""Sweeps: lists of points, combined by product, zip and chain, and their expansion to the runs of an experiment.

A point is a mapping of dotted overrides such as `{"model.depth": 56, "seed": 1}`. The runs are in the order of the
points.
"""

import copy
import dataclasses
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from resjax import settings
from resjax.config import Config, freeze
from resjax.config.effects import ineffective, no_effect
from resjax.settings import ConfigError

Point = Mapping[str, Any]

# Every id contains these settings; other swept settings add a suffix if they differ from the experiment's own value.
NAMED_KEYS = ("model.kind", "model.shortcut", "model.depth", "seed")


def axis(key: str, values: Iterable[Any]) -> list[Point]:
  """Returns one point per value of the setting with the dotted name `key`."""
  return [{key: value} for value in values]


def product(*sweeps: Sequence[Point]) -> list[Point]:
  """Returns all combinations of one point from each sweep; the last sweep varies fastest."""
  return [_merged(points) for points in itertools.product(*sweeps)]


def zipped(*sweeps: Sequence[Point]) -> list[Point]:
  """Returns the sweep whose i-th point merges the i-th points of all given sweeps.

  Raises:
    ConfigError: The sweeps have different lengths.
  """
  if len({len(sweep) for sweep in sweeps}) > 1:
    raise ConfigError(f"zipped sweeps must be of one length, not {', '.join(str(len(sweep)) for sweep in sweeps)}")
  return [_merged(points) for points in zip(*sweeps, strict=True)]


def chain(*sweeps: Sequence[Point]) -> list[Point]:
  """Returns the concatenation of the sweeps."""
  return list(itertools.chain(*sweeps))


def _merged(points: Iterable[Point]) -> Point:
  return {key: value for point in points for key, value in point.items()}


@dataclasses.dataclass(frozen=True)
class Run:
  """One run of an experiment.

  Attributes:
    id: Id of the run, such as "residual-A-d56-s0".
    experiment: Name of the experiment.
    variant: Variant of the experiment, or "".
    config: Settings of the run.
  """

  id: str
  experiment: str
  variant: str
  config: Config

  @property
  def folder(self) -> str:
    """Name of the experiment's folder below the work directory."""
    return f"{self.experiment}-{self.variant}" if self.variant else self.experiment


def expand(experiment: str, variant: str, base: Mapping[str, Any], points: Sequence[Point], pinned: Point) -> list[Run]:
  """Returns the runs of a sweep.

  Args:
    experiment: Name of the experiment.
    variant: Variant of the experiment, or "".
    base: Settings of the experiment as nested mappings.
    points: Points of the sweep.
    pinned: Dotted overrides that take precedence over the sweep; points that they make equal are one run.

  Raises:
    ConfigError: The sweep is empty, a key or value is invalid, or two different runs would have the same id.
  """
  if not points:
    raise ConfigError(f"experiment {experiment}: its sweep has no runs")
  for key in dict.fromkeys(key for point in points for key in point):
    settings.check_key(Config, key)
  runs: dict[str, Run] = {}
  given: dict[str, Point] = {}  # overrides of each run
  own = settings.flatten(base)
  for point in points:
    config = freeze(_applied(base, {**point, **pinned}))
    here = settings.flatten(dataclasses.asdict(config))
    swept = {key: here[key] for key in point if here[key] != own[key]}
    run = Run(run_id(config, swept), experiment, variant, config)
    if runs.setdefault(run.id, run) != run:
      raise ConfigError(
        f"two runs of {run.folder} would be called {run.id}: they differ in {_differing(runs[run.id], run)}"
      )
    given.setdefault(run.id, point)
  _check_effects(runs, base, given, pinned)
  return list(runs.values())


def _check_effects(runs: Mapping[str, Run], base: Mapping[str, Any], given: Mapping[str, Point], pinned: Point) -> None:
  """Raises ConfigError for a setting without effect.

  A swept setting must have an effect in its own run, and any other in at least one run. If it is an override of another
  setting that makes one without effect, such as another schedule, that one is accepted.

  Args:
    runs: Runs of the sweep by id.
    base: Settings of the experiment as nested mappings.
    given: Swept values of each run.
    pinned: Dotted overrides that take precedence over the sweep.
  """
  unused = {name: ineffective(run.config) for name, run in runs.items()}
  for name, found in unused.items():
    for key in found:
      if key in given[name] and key not in pinned:
        raise ConfigError(no_effect(key, found[key], f"in {name}"))
  first, *others = unused.values()
  for key in (key for key in first if all(key in found for found in others)):
    if (
      key in pinned or not pinned or all(key in ineffective(freeze(_applied(base, point))) for point in given.values())
    ):
      raise ConfigError(no_effect(key, first[key], "in any run"))


def run_id(config: Config, swept: Point) -> str:
  """Returns the id of a run.

  Args:
    config: Settings of the run.
    swept: Swept settings in which the run differs from the experiment's own settings.
  """
  parts = [config.model.kind, *([config.shortcut] if config.shortcut else []), f"d{config.model.depth}"]
  parts += [_suffix(key.rpartition(".")[2], value) for key, value in swept.items() if key not in NAMED_KEYS]
  return "-".join([*parts, f"s{config.seed}"])


def _suffix(name: str, value: Any) -> str:
  if isinstance(value, bool):
    return name if value else f"no_{name}"
  text = "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
  return f"{name}_" + re.sub(r"[^\w.+-]+", "-", text)  # characters that every file system allows in names


def _applied(base: Mapping[str, Any], point: Point) -> dict[str, Any]:
  values = copy.deepcopy(dict(base))
  for key, value in point.items():
    *path, name = key.split(".")
    target = values
    for part in path:
      target = target[part]
    target[name] = value
  return values


def _differing(one: Run, other: Run) -> str:
  here, there = (settings.flatten(run.config.to_dict()) for run in (one, other))
  return ", ".join(key for key in here if here[key] != there[key])
