"""Experiment files, which have a question as docstring and functions `get_config(variant)` and `sweep(variant)`."""

import dataclasses
import importlib.util
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ml_collections

from resjax import settings, sweep
from resjax.config import Config
from resjax.settings import ConfigError
from resjax.sweep import Point, Run

PACKAGED = Path(__file__).parent / "experiments"  # their place in a wheel, see setup.py
SHIPPED = PACKAGED if PACKAGED.is_dir() else Path(__file__).parent.parent / "experiments"
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Experiment:
  """An experiment file.

  Attributes:
    name: Name of the file without suffix.
    path: Path of the file.
    module: Imported module with `get_config`, `sweep` and, if there are variants, `VARIANTS`.
  """

  name: str
  path: Path
  module: types.ModuleType

  @property
  def question(self) -> str:
    """Question of the experiment, the first line of its docstring."""
    return (self.module.__doc__ or "").strip().partition("\n")[0]

  @property
  def variants(self) -> tuple[str, ...]:
    """Names of the variants, as in `--config NAME:VARIANT`."""
    return tuple(getattr(self.module, "VARIANTS", ()))

  def base(self, variant: str) -> ml_collections.ConfigDict:
    """Returns the settings of a variant before the sweep.

    Raises:
      ConfigError: The variant does not exist, or `get_config` does not return all settings.
    """
    if variant and variant not in self.variants:
      known = ", ".join(self.variants) or "none"
      raise ConfigError(f"experiment {self.name} has no variant {variant}; available variants: {known}")
    values = _called(self.path, "get_config", lambda: self.module.get_config(variant))
    keys = settings.flatten(values.to_dict()) if isinstance(values, ml_collections.ConfigDict) else {}
    if not all(key in keys for key, _ in settings.leaves(Config)):
      raise ConfigError(f"experiment {self.path}: get_config must return a (modified) config.default()")
    return values

  def runs(self, variant: str = "", pinned: Point | None = None) -> list[Run]:
    """Returns the runs of the sweep.

    Args:
      variant: Variant of the experiment, or "".
      pinned: Dotted overrides that take precedence over the sweep.

    Raises:
      ConfigError: The variant, the sweep or an override is invalid.
    """
    base = self.base(variant).to_dict()
    points = _called(self.path, "sweep", lambda: [dict(point) for point in self.module.sweep(variant)])
    return sweep.expand(self.name, variant, base, points, pinned or {})


def paths(*folders: Path) -> dict[str, Path]:
  """Returns the experiment files in the folders, sorted by name.

  Args:
    folders: Folders to search. By default ./experiments and the project's own experiments, where a file in
      ./experiments takes precedence over one of the same name.

  Raises:
    ConfigError: Two files in the given folders have the same name.
  """
  if not folders:
    return dict(sorted({**paths(SHIPPED), **paths(Path("experiments"))}.items()))
  found: dict[str, Path] = {}
  for folder in folders:
    for path in sorted(folder.resolve().glob("[!_]*.py")):
      if found.setdefault(path.stem, path) != path:
        raise ConfigError(f"two experiments are called {path.stem}: {found[path.stem]} and {path}")
  return dict(sorted(found.items()))


def available(*folders: Path) -> list[Experiment]:
  """Returns the experiments in the folders, see `paths`.

  Raises:
    ConfigError: Two files have the same name, or a file is not a valid experiment.
  """
  return [load(path) for path in paths(*folders).values()]


def find(name: str) -> Experiment:
  """Returns the experiment with a name, or in the file at a path.

  Raises:
    ConfigError: The experiment does not exist, and the message lists those that do; or it is not valid.
  """
  if name.endswith(".py") and Path(name).is_file():
    return load(Path(name))
  known = paths()
  if name in known:
    return load(known[name])
  raise ConfigError(f"unknown experiment {name}{settings.suggestion(Path(name).stem, known)}")


def load(path: Path) -> Experiment:
  """Imports an experiment file.

  Raises:
    ConfigError: The file raises an exception, lacks `get_config` or `sweep`, or has invalid `VARIANTS`.
  """
  spec = importlib.util.spec_from_file_location(f"resjax_experiment_{path.stem}", path)
  assert spec and spec.loader  # always true for a .py file
  loader, module = spec.loader, importlib.util.module_from_spec(spec)
  _called(path, "the file", lambda: loader.exec_module(module))
  for function in ("get_config", "sweep"):
    if not callable(getattr(module, function, None)):
      raise ConfigError(f"experiment {path} has no function {function}(variant)")
  variants = getattr(module, "VARIANTS", ())
  if not isinstance(variants, tuple) or not all(isinstance(name, str) for name in variants):
    raise ConfigError(f"experiment {path}: VARIANTS = {variants!r}: must be a tuple of names")
  return Experiment(path.stem, path, module)


def overview() -> list[dict[str, Any]]:
  """Returns one row per experiment and variant, with the keys `name`, `question` and `runs`."""
  return [
    {
      "name": f"{experiment.name}:{variant}" if variant else experiment.name,
      "question": experiment.question,
      "runs": len(experiment.runs(variant)),
    }
    for experiment in available()
    for variant in ("", *experiment.variants)
  ]


def _called(path: Path, what: str, call: Callable[[], T]) -> T:
  """Calls a function of an experiment file; raises any exception of it, including SystemExit, as ConfigError."""
  try:
    return call()
  except ConfigError:
    raise
  except (Exception, SystemExit) as error:
    raise ConfigError(f"experiment {path}: {what} raised {type(error).__name__}: {error}") from error
