"""The experiments: files with a question in their docstring, `get_config(variant)` and `sweep(variant)`."""

import dataclasses
import importlib.util
import types
from pathlib import Path
from typing import Any

import ml_collections

from resjax import settings, sweep
from resjax.settings import ConfigError
from resjax.sweep import Point, Run

SHIPPED = Path(__file__).parent.parent / "experiments"


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
      ConfigError: there is no such variant.
    """
    if variant and variant not in self.variants:
      known = ", ".join(self.variants) or "none"
      raise ConfigError(f"experiment {self.name} has no variant {variant}; there is {known}")
    return self.module.get_config(variant)

  def runs(self, variant: str = "", pinned: Point | None = None) -> list[Run]:
    """Returns the expanded sweep; `pinned` are dotted overrides that win over it.

    Raises:
      ConfigError: the variant or an override is wrong.
    """
    base = self.base(variant).to_dict()
    return sweep.expand(self.name, variant, base, self.module.sweep(variant), pinned or {})


def available(*folders: Path) -> list[Experiment]:
  """Returns the experiments in the folders, by default the project's own and ./experiments, sorted by name.

  Raises:
    ConfigError: two files have one name.
  """
  paths: dict[str, Path] = {}
  for folder in folders or (SHIPPED, Path("experiments")):
    for path in sorted(folder.resolve().glob("[!_]*.py")):
      if paths.setdefault(path.stem, path) != path:
        raise ConfigError(f"two experiments are called {path.stem}: {paths[path.stem]} and {path}")
  return [load(path) for _, path in sorted(paths.items())]


def find(name: str) -> Experiment:
  """Returns the experiment with this name, or in the file of this path.

  Raises:
    ConfigError: there is none; the message lists what there is.
  """
  if name.endswith(".py") and Path(name).is_file():
    return load(Path(name))
  known = {experiment.name: experiment for experiment in available()}
  if name in known:
    return known[name]
  raise ConfigError(f"unknown experiment {name}{settings.suggestion(Path(name).stem, list(known))}")


def load(path: Path) -> Experiment:
  """Runs an experiment file.

  Raises:
    ConfigError: it does not run, or lacks `get_config` or `sweep`.
  """
  spec = importlib.util.spec_from_file_location(f"resjax_experiment_{path.stem}", path)
  assert spec and spec.loader  # a .py file always has both
  module = importlib.util.module_from_spec(spec)
  try:
    spec.loader.exec_module(module)
  except Exception as error:
    raise ConfigError(f"experiment {path} does not run: {type(error).__name__}: {error}") from error
  for function in ("get_config", "sweep"):
    if not callable(getattr(module, function, None)):
      raise ConfigError(f"experiment {path} has no function {function}(variant)")
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
