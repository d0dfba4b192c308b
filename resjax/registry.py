"""The experiments: files with a question in their docstring, `get_config(variant)` and `sweep(variant)`."""

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

PACKAGED = Path(__file__).parent / "experiments"  # where setup.py puts them in a wheel
SHIPPED = PACKAGED if PACKAGED.is_dir() else Path(__file__).parent.parent / "experiments"
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Experiment:
  """An experiment file.

  Attributes:
    name: the file's, without its ending.
    path: of the file.
    module: what it defines: `get_config`, `sweep` and, where it has any, `VARIANTS`.
  """

  name: str
  path: Path
  module: types.ModuleType

  @property
  def question(self) -> str:
    """The first line of the docstring."""
    return (self.module.__doc__ or "").strip().partition("\n")[0]

  @property
  def variants(self) -> tuple[str, ...]:
    """What may follow the colon of `--config NAME:VARIANT`."""
    return tuple(getattr(self.module, "VARIANTS", ()))

  def base(self, variant: str) -> ml_collections.ConfigDict:
    """Returns the settings before the sweep.

    Raises:
      ConfigError: there is no such variant, or `get_config` does not return all the settings.
    """
    if variant and variant not in self.variants:
      known = ", ".join(self.variants) or "none"
      raise ConfigError(f"experiment {self.name} has no variant {variant}; there is {known}")
    values = _called(self.path, "get_config", lambda: self.module.get_config(variant))
    keys = settings.flatten(values.to_dict()) if isinstance(values, ml_collections.ConfigDict) else {}
    if not all(key in keys for key, _ in settings.leaves(Config)):
      raise ConfigError(f"experiment {self.path}: get_config must return what config.default() returns, changed")
    return values

  def runs(self, variant: str = "", pinned: Point | None = None) -> list[Run]:
    """Returns the expanded sweep; `pinned` are dotted overrides that win over it.

    Raises:
      ConfigError: the variant, the sweep or an override is wrong.
    """
    base = self.base(variant).to_dict()
    points = _called(self.path, "sweep", lambda: [dict(point) for point in self.module.sweep(variant)])
    return sweep.expand(self.name, variant, base, points, pinned or {})


def paths(*folders: Path) -> dict[str, Path]:
  """Returns the experiment files in the folders, sorted by name.

  Args:
    folders: Where to look. Without any: in ./experiments and among the project's own, of which a file in ./experiments
      with the same name takes the place.

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
  """Returns the experiments of `paths`.

  Raises:
    ConfigError: two files have one name, or one cannot be used.
  """
  return [load(path) for path in paths(*folders).values()]


def find(name: str) -> Experiment:
  """Returns the experiment with this name, or in the file of this path.

  Raises:
    ConfigError: there is none, and the message lists what there is; or it cannot be used.
  """
  if name.endswith(".py") and Path(name).is_file():
    return load(Path(name))
  known = paths()
  if name in known:
    return load(known[name])
  raise ConfigError(f"unknown experiment {name}{settings.suggestion(Path(name).stem, known)}")


def load(path: Path) -> Experiment:
  """Runs an experiment file.

  Raises:
    ConfigError: it does not run, lacks `get_config` or `sweep`, or has `VARIANTS` that are not a tuple of names.
  """
  spec = importlib.util.spec_from_file_location(f"resjax_experiment_{path.stem}", path)
  assert spec and spec.loader  # a .py file always has both
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
  """Returns a row an experiment and variant: `name, question, runs`."""
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
  """Returns what a part of an experiment file returns; whatever it raises, SystemExit too, is a ConfigError."""
  try:
    return call()
  except ConfigError:
    raise
  except (Exception, SystemExit) as error:
    raise ConfigError(f"experiment {path}: {what} raised {type(error).__name__}: {error}") from error
