"""What an extra installs, and a Python that has nothing else: a user's installation tried where all extras are."""

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
# Hides the modules named in BLOCKED, then runs the module that the first argument names.
RUN = """
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
  """Returns what an extra asks for, and the base installation; "": that alone."""
  found = [Requirement(text) for text in PROJECT["dependencies"]]
  for name in filter(None, extra.split(",")):
    for text in PROJECT["optional-dependencies"][name]:
      requirement = Requirement(text)
      if requirement.name == "resjax":
        found += requirements(",".join(requirement.extras))
      else:
        found.append(requirement)
  return found


def closure(extra: str) -> set[str]:
  """Returns the distributions that an extra brings, with what they need, by the metadata of what is installed here."""
  seen: set[tuple[str, str]] = set()
  waiting = [(each.name, extra) for each in requirements(extra) for extra in ("", *each.extras)]
  while waiting:
    name, of = waiting.pop()
    name = canonicalize_name(name)
    if (name, of) in seen:
      continue
    seen.add((name, of))
    try:
      needs = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
      continue  # of another platform
    for each in map(Requirement, needs):
      if each.marker is None or each.marker.evaluate({"extra": of}):
        waiting += [(each.name, inner) for inner in ("", *each.extras)]
  return {name for name, _ in seen}


def hidden(extra: str) -> list[str]:
  """Returns the modules that are installed here but would not be with this extra alone."""
  there = closure(extra)
  packages = importlib.metadata.packages_distributions()
  return sorted(
    module
    for module, owners in packages.items()
    if re.fullmatch(r"\w+", module) and not any(canonicalize_name(owner) in there for owner in owners)
  )


def run(extra: str, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
  """Runs `python -m COMMAND` as with this extra alone, on one device."""
  environment = os.environ | {
    "BLOCKED": json.dumps(hidden(extra)),
    "PYTHONPATH": str(ROOT),
    "JAX_NUM_CPU_DEVICES": "1",
  }
  ran = [sys.executable, "-c", RUN, *command]
  return subprocess.run(ran, cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
