"""Runs commands as if only one extra were installed, by hiding the modules of all other packages."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Hides the modules that the environment variable BLOCKED lists, then runs the module named by the first argument.
RUN_WITH_HIDDEN_MODULES = """
import importlib.abc, importlib.util, json, os, runpy, sys
blocked = set(json.loads(os.environ["BLOCKED"]))
class Blocker(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in blocked:
      raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
find_spec = importlib.util.find_spec
def visible(name, package=None):
  return None if name.partition(".")[0] in blocked else find_spec(name, package)
importlib.util.find_spec = visible
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def requirements(extra: str) -> list[Requirement]:
  """Returns the direct requirements of the base installation and of comma-separated extras ("" for none)."""
  found = [Requirement(text) for text in PROJECT["dependencies"]]
  for name in filter(None, extra.split(",")):
    for text in PROJECT["optional-dependencies"][name]:
      requirement = Requirement(text)
      if requirement.name == "resjax":
        found += requirements(",".join(requirement.extras))
      else:
        found.append(requirement)
  return found


def distributions(extra: str) -> set[str]:
  """Returns the names of all distributions that an extra installs, directly or indirectly.

  The dependencies are read from the metadata of the distributions installed in this environment.
  """
  seen: set[tuple[str, str]] = set()
  pending = [(each.name, extra) for each in requirements(extra) for extra in ("", *each.extras)]
  while pending:
    name, own_extra = pending.pop()
    name = canonicalize_name(name)
    if (name, own_extra) in seen:
      continue
    seen.add((name, own_extra))
    try:
      dependencies = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
      continue  # it is for another platform
    for each in map(Requirement, dependencies):
      if each.marker is None or each.marker.evaluate({"extra": own_extra}):
        pending += [(each.name, inner) for inner in ("", *each.extras)]
  return {name for name, _ in seen}


def hidden_modules(extra: str) -> list[str]:
  """Returns the installed top-level modules that would be missing if only this extra were installed."""
  installed = distributions(extra)
  packages = importlib.metadata.packages_distributions()
  return sorted(
    module
    for module, owners in packages.items()
    if re.fullmatch(r"\w+", module) and not any(canonicalize_name(owner) in installed for owner in owners)
  )


def run(extra: str, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
  """Runs `python -m COMMAND` on one device as if only this extra were installed.

  Args:
    extra: Comma-separated extras, or "" for the base installation.
    *command: Module to run and its arguments.
    cwd: Working directory of the command.
  """
  environment = os.environ | {
    "BLOCKED": json.dumps(hidden_modules(extra)),
    "PYTHONPATH": str(ROOT),
    "JAX_NUM_CPU_DEVICES": "1",
  }
  line = [sys.executable, "-c", RUN_WITH_HIDDEN_MODULES, *command]
  return subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
