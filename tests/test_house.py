"""The rules of the house: who may import whom, what stays free of JAX, how long a file may be."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "resjax"

# A room is a module of resjax, a package in it, or a folder beside it; each may import itself and these.
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
  "data": "config files settings mesh",
  "listing": "config sweep depth settings data",
  "experiment_cli": "files registry listing config settings sweep records",
  "processes": "settings",
  "mesh": "config files settings processes",
  "models": "config depth",
  "analysis": "files records study_records paper follow_up_papers depth",
  "train": "config files sweep depth settings records data listing experiment_cli mesh models processes",
  "detection": "config data depth files mesh models records settings train",
  "studies": "config files sweep depth settings records study_records data listing experiment_cli mesh models train",
  "evaluation": "config data mesh models records settings train",
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
  "train/experiment.py": "analysis detection",  # it writes the report when all runs are done, and checks backbones
  "train/input/__init__.py": "detection",  # it chooses the input strategy
  "train/program.py": "detection",  # it traces the training step
}
ANYTHING = ("summary", "evaluate", "convert", "study", "plan")  # commands that come with their own issues

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
  """The files the rules are for."""
  folders = (PACKAGE, REPOSITORY / "experiments", REPOSITORY / "launch")
  return sorted(path for folder in folders for path in folder.rglob("*.py"))


def module(path: Path) -> str:
  """The dotted name of a file, "resjax.train.loop" or "experiments.quickstart"."""
  return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def room(name: str) -> str:
  """The room of a module: "train" of "resjax.train.loop", "experiments" of "experiments.quickstart"."""
  parts = name.split(".")
  return (parts[1] if len(parts) > 1 else "") if parts[0] == "resjax" else parts[0]


MODULES = {module(path): path for path in sources()}


def imports(text: str, name: str, is_package: bool, functions: bool = True) -> dict[str, int]:
  """The modules of ours that a source imports, and the line; without `functions` only when it is imported itself."""
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
      # `from resjax import mesh` imports a module, `from resjax.config import Config` a name of one.
      members = [f"{base}.{alias.name}" for alias in node.names]
      targets = [member if member in MODULES else base for member in members]
    else:
      continue
    found |= {target: node.lineno for target in targets if target in MODULES}
  return found


def imports_of(name: str, functions: bool = True) -> dict[str, int]:
  path = MODULES[name]
  return imports(path.read_text(), name, path.name == "__init__.py", functions)


def forbidden(name: str, imported: dict[str, int]) -> list[str]:
  """Which of the imports the table has not, as "file:line imports module"."""
  path = MODULES[name]
  own = room(name)
  if own in ANYTHING:
    return []
  extra = ALSO.get(str(path.relative_to(PACKAGE)), "") if path.is_relative_to(PACKAGE) else ""
  allowed = {own, "", *ALLOWED[own].split(), *extra.split()} if own else {""}
  where = path.relative_to(REPOSITORY)
  return [f"{where}:{line} imports {other}" for other, line in imported.items() if room(other) not in allowed]


def test_every_room_is_in_the_table():
  rooms = {room(name) for name in MODULES} - {""}
  assert rooms - set(ALLOWED) - set(ANYTHING) == set()


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_what_the_table_allows(name):
  assert forbidden(name, imports_of(name)) == []


def test_no_module_imports_itself_on_the_way():
  """A package stands for its __init__; imports inside functions are late ones and close no cycle."""
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
def test_imports_are_read_however_they_are_written(text, found):
  assert sorted(imports(text, "resjax.config", False)) == found


def test_the_rule_names_file_and_import():
  read = imports("import json\n\nfrom resjax import records, depth\n", "resjax.config", False)
  assert forbidden("resjax.config", read) == ["resjax/config/__init__.py:3 imports resjax.records"]


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
  """For each module that has to do without JAX, what it imports of it: each in a process forked for it alone."""
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
  return {name: seen for name, *seen in map(str.split, ended.stdout.splitlines())}


@pytest.mark.parametrize("name", NO_JAX)
def test_imports_no_jax(name, loaded):
  assert loaded[name] == []


@pytest.mark.parametrize("name", MODULES)
def test_a_file_says_what_it_is_and_fits_in_the_head(name):
  text = MODULES[name].read_text()
  assert ast.get_docstring(ast.parse(text)), f"{MODULES[name]} has no docstring"
  assert len(text.splitlines()) <= MOST_LINES, f"{MODULES[name]} is longer than {MOST_LINES} lines: split it by purpose"


@pytest.mark.parametrize("name", MODULES)
def test_functions_take_few_arguments(name):
  """At most six beside self: what belongs together is an object."""
  for node in ast.walk(ast.parse(MODULES[name].read_text())):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
      arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
      own = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
      assert len(own) <= MOST_ARGUMENTS, f"{MODULES[name]}:{node.lineno}: {node.name} takes {', '.join(own)}"
