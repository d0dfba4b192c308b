"""The registry of experiments: names, variants, sweeps, and errors of experiment files."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from resjax import registry
from resjax.settings import ConfigError

GOOD = '''"""Is it so?

More of it.
"""
from resjax import config
from resjax.sweep import axis

VARIANTS = ("mini",)


def get_config(variant=""):
  c = config.default()
  if variant:
    c.train.steps = 10
  return c


def sweep(variant=""):
  return (point for point in axis("seed", range(1 if variant else 3)))
'''
BROKEN_FILES = {
  "def get_config(:": "the file raised SyntaxError",
  "raise SystemExit(0)": "the file raised SystemExit: 0",
  "import no_such_module": "the file raised ModuleNotFoundError: No module named 'no_such_module'",
  "1 / 0": "the file raised ZeroDivisionError",
  "x = '\\x00'; exec('a\\x00b')": "the file raised",
  "": "has no function get_config(variant)",
  "get_config = 3": "has no function get_config(variant)",
  "def get_config(variant): pass": "has no function sweep(variant)",
  f"{GOOD}\nVARIANTS = 'mini'": "VARIANTS = 'mini': must be a tuple of names",
  f"{GOOD}\nVARIANTS = (1,)": "VARIANTS = (1,): must be a tuple of names",
  f"{GOOD}\nVARIANTS = None": "VARIANTS = None: must be a tuple of names",
}
BROKEN_FUNCTIONS = {
  "def get_config(): pass": "get_config raised TypeError",
  "def get_config(variant): return None": "get_config must return a (modified) config.default()",
  "def get_config(variant): return {}": "get_config must return a (modified) config.default()",
  "def get_config(variant):\n  c = config.default()\n  del c.model.depth\n  return c": "get_config must return",
  "def get_config(variant):\n  c = config.default()\n  c.train.steps = 'x'\n  return c": "get_config raised TypeError",
  "def get_config(variant):\n  c = config.default()\n  c.train.stpes = 3\n  return c": "unknown key 'train.stpes'",
  "def get_config(variant): exit(3)": "get_config raised",
  "def sweep(variant): return []": "experiment study: its sweep has no runs",
  "def sweep(variant): return None": "sweep raised TypeError",
  "def sweep(variant): return ['seed']": "sweep raised ValueError",
  "def sweep(variant): raise KeyError('a\\nb')": "sweep raised KeyError",
  "def sweep(variant): return [{'sede': 1}]": "unknown key 'sede'",
  "def sweep(variant): return [{'seed': [1]}]": "seed = [1]: must be an integer",
}


def write(folder: Path, text: str = GOOD, name: str = "study") -> Path:
  """Writes an experiment file and returns its path."""
  folder.mkdir(exist_ok=True)
  path = folder / f"{name}.py"
  path.write_text(text)
  return path


def test_the_shipped_experiments_are_found_with_their_questions():
  shipped = registry.available(registry.SHIPPED)
  names = ["cifar_depth_sweep", "cifar_highway", "cifar_precision", "cifar_resnet18"]
  names += ["cifar_shortcuts", "detection_backbones", "detection_depth", "gradient_flow", "identity_mappings"]
  names += ["imagenet_depth", "imagenet_plain_vs_residual", "imagenet_shortcuts", "learning_rate_depth", "pitfalls"]
  names += ["plain_depth", "quickstart", "rezero_mlp", "stochastic_depth"]
  assert [experiment.name for experiment in shipped] == names
  for experiment in shipped:
    assert experiment.question
    assert f"--config experiments/{experiment.name}.py" in experiment.module.__doc__


def test_the_overview_has_one_row_per_experiment_and_variant(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  runs = {row["name"]: row["runs"] for row in registry.overview()}
  imagenet = {"imagenet_depth": (5, 2), "imagenet_plain_vs_residual": (4, 4), "imagenet_shortcuts": (3, 3)}
  assert runs == {
    **{
      "cifar_depth_sweep": 55,
      "cifar_depth_sweep:mini": 4,
      "cifar_depth_sweep:short": 26,
      "cifar_depth_sweep:medium": 8,
      "cifar_depth_sweep:quarter": 11,
      "cifar_highway": 2,
      "cifar_precision": 18,
      "cifar_resnet18": 5,
      "cifar_resnet18:small": 2,
      "cifar_shortcuts": 27,
      "detection_backbones": 12,
      "detection_depth": 9,
      "detection_depth:coco": 9,
      "detection_depth:small": 12,
      "gradient_flow": 24,
      "gradient_flow:cifar": 24,
      "identity_mappings": 4,
      "identity_mappings:shortcuts": 8,
      "identity_mappings:digits": 8,
      "identity_mappings:small": 8,
      "learning_rate_depth": 1104,
      "learning_rate_depth:small": 132,
      "learning_rate_depth:short": 368,
      "learning_rate_depth:digits": 1104,
      "pitfalls": 24,
      "pitfalls:digits": 24,
      "plain_depth": 40,
      "plain_depth:digits": 30,
      "plain_depth:short": 20,
      "quickstart": 6,
      "rezero_mlp": 4,
      "rezero_mlp:small": 4,
      "stochastic_depth": 4,
      "stochastic_depth:1202": 2,
      "stochastic_depth:small": 8,
      "stochastic_depth:digits": 8,
    },
    **{name: whole for name, (whole, _) in imagenet.items()},
    **{f"{name}:tenth": whole for name, (whole, _) in imagenet.items()},
    **{f"{name}:small": small for name, (_, small) in imagenet.items()},
  }
  assert all(list(row) == ["name", "question", "runs"] for row in registry.overview())


def test_the_depth_sweep_has_the_runs_of_the_paper():
  made = registry.find("cifar_depth_sweep").runs()
  first = [run.id for run in made[:11]]
  assert first == [
    *(f"residual-A-d{depth}-s0" for depth in (20, 32, 44, 56, 110, 1202)),
    *(f"plain-d{depth}-s0" for depth in (20, 32, 44, 56, 110)),
  ]
  assert [run.config.seed for run in made] == [seed for seed in range(5) for _ in range(11)]
  assert {d["name"] for run in made for d in run.config.deviations()} == {"model.norm_images"}


def test_the_mini_sweep_deviates_in_steps_only():
  made = registry.find("cifar_depth_sweep").runs("mini")
  assert [run.id for run in made] == ["residual-A-d20-s0", "plain-d20-s0", "residual-A-d44-s0", "plain-d44-s0"]
  assert {run.folder for run in made} == {"cifar_depth_sweep-mini"}
  assert [[d["name"] for d in run.config.deviations()] for run in made] == [["model.norm_images", "train.steps"]] * 4


def test_each_pitfall_differs_from_the_recipe_in_one_setting():
  for variant in ("", "digits"):
    made = registry.find("pitfalls").runs(variant)
    recipe = dataclasses.asdict(made[0].config)
    changed = [_changed(recipe, dataclasses.asdict(run.config)) for run in made[:8]]
    assert [len(keys) for keys in changed] == [0] + 7 * [1]
    assert len(set().union(*changed)) == 7


def _changed(one: dict, other: dict) -> set[str]:
  """Returns the dotted keys whose values differ."""
  groups = [group for group in one if one[group] != other[group]]
  return {f"{group}.{key}" for group in groups for key in one[group] if one[group][key] != other[group][key]}


def test_a_file_is_found_by_path_and_by_name_below_the_current_directory(tmp_path, monkeypatch):
  path = write(tmp_path / "experiments")
  assert registry.find(str(path)).name == "study"
  monkeypatch.chdir(tmp_path)
  for name in ("study", "experiments/study.py", "./experiments/study.py"):
    experiment = registry.find(name)
    assert (experiment.name, experiment.question, experiment.variants) == ("study", "Is it so?", ("mini",))
  assert {"study", "study:mini", "quickstart"} <= {row["name"] for row in registry.overview()}


def test_variants_and_pinned_settings_are_applied_to_the_runs(tmp_path):
  experiment = registry.find(str(write(tmp_path)))
  assert [run.id for run in experiment.runs()] == [f"residual-A-d20-s{seed}" for seed in range(3)]
  (mini,) = experiment.runs("mini")
  assert (mini.config.train.steps, mini.folder) == (10, "study-mini")
  assert [run.id for run in experiment.runs(pinned={"model.depth": 8, "seed": 5})] == ["residual-A-d8-s5"]
  with pytest.raises(ConfigError, match=r"^experiment study has no variant mni; available variants: mini$"):
    experiment.runs("mni")


def test_two_experiments_of_one_name_are_an_error(tmp_path):
  write(tmp_path / "a"), write(tmp_path / "b")
  with pytest.raises(ConfigError, match=r"two experiments are called study: .*a/study\.py and .*b/study\.py"):
    registry.available(tmp_path / "a", tmp_path / "b")
  assert len(registry.available(tmp_path / "a", tmp_path / "a")) == 1


def test_files_with_a_leading_underscore_and_missing_folders_are_ignored(tmp_path):
  write(tmp_path, "raise SystemExit", "_helper")
  assert registry.available(tmp_path, tmp_path / "none") == []


@pytest.mark.parametrize(
  ("name", "says"),
  [
    (
      "nope",
      "unknown experiment nope; available: cifar_depth_sweep, cifar_highway, cifar_precision, cifar_resnet18, cifar",
    ),
    ("quickstrt", r"unknown experiment quickstrt; did you mean quickstart\?"),
    ("somewhere/quickstart.py", r"unknown experiment somewhere/quickstart.py; did you mean quickstart\?"),
    ("", "unknown experiment ;"),
    ("folder.py", "unknown experiment folder.py"),
  ],
)
def test_the_error_of_an_unknown_experiment_names_the_known_ones(name, says, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "folder.py").mkdir()
  with pytest.raises(ConfigError, match=f"^{says}"):
    registry.find(name)


@pytest.mark.parametrize(("text", "says"), BROKEN_FILES.items())
def test_a_broken_file_is_a_config_error(text, says, tmp_path):
  path = write(tmp_path, text)
  with pytest.raises(ConfigError) as caught:
    registry.find(str(path))
  assert str(caught.value).startswith(f"experiment {path}")
  assert says in str(caught.value)


@pytest.mark.parametrize(("text", "says"), BROKEN_FUNCTIONS.items())
def test_a_broken_function_is_a_config_error(text, says, tmp_path):
  experiment = registry.find(str(write(tmp_path, f"{GOOD}\n\n{text}")))
  with pytest.raises(ConfigError) as caught:
    experiment.runs()
  assert says in str(caught.value)


def test_a_broken_file_does_not_affect_other_experiments(tmp_path, monkeypatch):
  write(tmp_path / "experiments", "1 / 0")
  monkeypatch.chdir(tmp_path)
  assert registry.find("quickstart").name == "quickstart"
  with pytest.raises(ConfigError, match="unknown experiment nope"):
    registry.find("nope")


def test_without_any_experiment_the_overview_is_empty(tmp_path, monkeypatch):
  monkeypatch.setattr(registry, "SHIPPED", tmp_path / "none")
  monkeypatch.chdir(tmp_path)
  assert registry.overview() == []
  with pytest.raises(ConfigError, match=r"available: none$"):
    registry.find("quickstart")


def test_an_experiment_in_the_current_folder_replaces_a_shipped_one(tmp_path, monkeypatch):
  copy = tmp_path / "experiments" / "quickstart.py"
  copy.parent.mkdir()
  shutil.copy(registry.SHIPPED / "quickstart.py", copy)
  monkeypatch.chdir(tmp_path)
  for name in ("quickstart", "experiments/quickstart.py"):
    assert registry.find(name).path.resolve() == copy.resolve()
  assert len(registry.paths()) == len(registry.paths(registry.SHIPPED))
