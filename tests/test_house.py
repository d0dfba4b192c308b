"""Rules of the code base: imports between modules, modules without JAX, docstrings, and lengths of files."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "resjax"

# A unit is a module or package directly in resjax, or a folder beside it. It may import itself and the units listed.
ALLOWED = {
  "settings": "",
  "depth": "",
  "paper": "depth",
  "follow_up_papers": "",
  "files": "",
  "records": "files",
  "study_records": "files records",
  "config": "depth settings",
  "sweep": "config settings",
  "registry": "config sweep settings",
  "host": "",
  "data": "config files host settings mesh",
  "listing": "config sweep depth settings data",
  "experiment_cli": "files registry listing config settings sweep records",
  "processes": "host settings",
  "mesh": "config files host settings processes",
  "models": "config depth",
  "analysis": "files records study_records paper follow_up_papers depth",
  "train": "config files sweep depth settings records data listing experiment_cli mesh models processes",
  "detection": "config data depth files mesh models records settings train",
  "studies": "config files sweep depth settings records study_records data listing experiment_cli mesh models train",
  "evaluation": "config data host mesh models records settings train",
  "weights": "config data depth models records settings train",
  "__main__": "",
  "cli": "files records settings",
  "main": "experiment_cli listing registry settings train",
  "report": "cli analysis files records settings",
  "experiments": "config sweep",
  "planning": "config data depth mesh models records settings train listing",
  "launch": "experiment_cli files listing planning records settings sweep",
}
ALSO = {
  "train/experiment.py": "analysis detection",  # it writes the report after all runs and checks backbones of detectors
  "train/input/__init__.py": "detection",  # it chooses the input strategy
  "train/program.py": "detection",  # it traces the training step
}
ANYTHING = ("summary", "evaluate", "convert", "study", "plan")  # commands that may import all units

NO_JAX = (
  *(
    "settings",
    "depth",
    "paper",
    "follow_up_papers",
    "files",
    "records",
    "study_records",
    "config",
    "sweep",
    "registry",
    "listing",
    "experiment_cli",
    "main",
    "data",
  ),
  *(
    "__main__",
    "cli",
    "convert",
    "evaluate",
    "study",
    "studies.lesion_plans",
    "studies.lanczos",
    "planning.chips",
    "plan",
  ),
  *("analysis", "analysis.page", "report"),
)
JAX = ("jax", "jaxlib", "flax", "optax", "orbax")
MOST_LINES = 300
MOST_ARGUMENTS = 6


def sources() -> list[Path]:
  """Returns the files to which the rules apply."""
  folders = (PACKAGE, REPOSITORY / "experiments", REPOSITORY / "launch")
  return sorted(path for folder in folders for path in folder.rglob("*.py"))


def module(path: Path) -> str:
  """Returns the dotted module name of a file, such as "resjax.train.loop"."""
  return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def unit(name: str) -> str:
  """Returns the unit of a module: "train" for "resjax.train.loop", "experiments" for "experiments.quickstart"."""
  parts = name.split(".")
  return (parts[1] if len(parts) > 1 else "") if parts[0] == "resjax" else parts[0]


MODULES = {module(path): path for path in sources()}


def imports(text: str, name: str, is_package: bool, functions: bool = True) -> dict[str, int]:
  """Returns the modules of the project that a source file imports.

  Args:
    text: Content of the file.
    name: Name of its module.
    is_package: Whether the file is the `__init__.py` of a package.
    functions: Whether imports inside of functions are included.

  Returns:
    Line of the import of each module.
  """
  found: dict[str, int] = {}
  pending: list[ast.AST] = [ast.parse(text)]
  while pending:
    node = pending.pop()
    if functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
      pending += ast.iter_child_nodes(node)
    if isinstance(node, ast.Import):
      targets = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      above = name.split(".")[: None if is_package and node.level == 1 else -(node.level - is_package)]
      base = ".".join([*(above if node.level else []), *([node.module] if node.module else [])])
      # `from resjax import mesh` imports a module, `from resjax.config import Config` a name from a module.
      members = [f"{base}.{alias.name}" for alias in node.names]
      targets = [member if member in MODULES else base for member in members]
    else:
      continue
    found |= {target: node.lineno for target in targets if target in MODULES}
  return found


def imports_of(name: str, functions: bool = True) -> dict[str, int]:
  """Returns the modules of the project that a module imports, with lines."""
  path = MODULES[name]
  return imports(path.read_text(), name, path.name == "__init__.py", functions)


def forbidden(name: str, imported: dict[str, int]) -> list[str]:
  """Returns the imports that the table does not allow, as "file:line imports module"."""
  path = MODULES[name]
  own = unit(name)
  if own in ANYTHING:
    return []
  extra = ALSO.get(str(path.relative_to(PACKAGE)), "") if path.is_relative_to(PACKAGE) else ""
  allowed = {own, "", *ALLOWED[own].split(), *extra.split()} if own else {""}
  where = path.relative_to(REPOSITORY)
  return [f"{where}:{line} imports {other}" for other, line in imported.items() if unit(other) not in allowed]


def test_every_unit_is_in_the_table():
  units = {unit(name) for name in MODULES} - {""}
  assert units - set(ALLOWED) - set(ANYTHING) == set()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_the_table_allows(name):
  assert forbidden(name, imports_of(name)) == []


def test_imports_have_no_cycles():
  """Imports inside of functions are executed later and cause no cycle."""
  graph = {name: set(imports_of(name, functions=False)) - {name} for name in MODULES}
  graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
  ("text", "found"),
  [
    ("import resjax.mesh", ["resjax.mesh"]),
    ("import resjax.mesh as m, os", ["resjax.mesh"]),
    ("from resjax import mesh, config", ["resjax.config", "resjax.mesh"]),
    ("from resjax.mesh import make", ["resjax.mesh"]),
    ("from resjax.train import loop", ["resjax.train.loop"]),
    ("from . import depth", ["resjax.depth"]),
    ("from .train.loop import train", ["resjax.train.loop"]),
    ("def f():\n  if True:\n    from resjax.train import experiment", ["resjax.train.experiment"]),
    ("import os.path\nfrom collections import abc", []),
  ],
)
def test_all_forms_of_imports_are_recognized(text, found):
  assert sorted(imports(text, "resjax.config", False)) == found


def test_a_forbidden_import_is_reported_with_file_and_line():
  found = imports("import json\n\nfrom resjax import records, depth\n", "resjax.config", False)
  assert forbidden("resjax.config", found) == ["resjax/config/__init__.py:3 imports resjax.records"]


@pytest.fixture(scope="module")
def imported_jax() -> dict[str, list[str]]:
  """Returns the packages of JAX that each module in `NO_JAX` imports in a process of its own."""
  code = f"""
import importlib, os, sys
for name in {NO_JAX!r}:
  if os.fork() == 0:
    importlib.import_module("resjax." + name)
    print(name, *sorted(m for m in {JAX!r} if m in sys.modules), flush=True)
    os._exit(0)
  os.wait()
"""
  ended = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
  assert ended.stderr == ""
  return {name: packages for name, *packages in map(str.split, ended.stdout.splitlines())}


@pytest.mark.parametrize("name", NO_JAX)
def test_modules_without_jax_do_not_import_it(name, imported_jax):
  assert imported_jax[name] == []


@pytest.mark.parametrize("name", MODULES)
def test_a_file_has_a_docstring_and_at_most_300_lines(name):
  text = MODULES[name].read_text()
  assert ast.get_docstring(ast.parse(text)), f"{MODULES[name]} has no docstring"
  assert len(text.splitlines()) <= MOST_LINES, f"{MODULES[name]} is longer than {MOST_LINES} lines: split it by purpose"


@pytest.mark.parametrize("name", MODULES)
def test_functions_have_at_most_six_arguments(name):
  for node in ast.walk(ast.parse(MODULES[name].read_text())):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
      own = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
      assert len(own) <= MOST_ARGUMENTS, f"{MODULES[name]}:{node.lineno}: {node.name} takes {', '.join(own)}"
