"""The command `resjax`: lists the commands, runs each as `python -m resjax.MODULE` does, and knows its version."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import resjax
from resjax.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
  return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)])
def test_commands_are_listed_with_what_they_do(arguments):
  listed = run("resjax", *arguments)
  assert (listed.returncode, listed.stderr) == (0, "")
  lines = {line.split()[1]: line.split(maxsplit=2)[2] for line in listed.stdout.splitlines() if "  resjax " in line}
  assert list(lines) == list(COMMANDS) and all(len(summary) > 20 for summary in lines.values())


def test_the_version_has_one_source():
  assert run("resjax", "--version").stdout == f"resjax {resjax.__version__}\n"
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())
  assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
  assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "resjax.__version__"}
  assert project["project"]["scripts"] == {"resjax": "resjax.__main__:main"}
  assert f"## {resjax.__version__}" in (ROOT / "CHANGELOG.md").read_text()
  assert f"\nversion: {resjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_an_unknown_command_is_one_line():
  wrong = run("resjax", "trane")
  assert (wrong.returncode, wrong.stdout) == (2, "")
  assert wrong.stderr == f"resjax: 'trane' is not a command: use one of {', '.join(COMMANDS)}\n"


@pytest.mark.parametrize("name", ["train", "report", "summary", "plan"])
def test_a_command_is_the_module(name):
  """The same output, error and exit code, of a good and of a bad command line."""
  for arguments in (["--help"], ["--no_such_flag"]):
    through, direct = (run(*called, *arguments) for called in (("resjax", name), (f"resjax.{COMMANDS[name]}",)))
    assert (through.returncode, through.stdout, through.stderr) == (direct.returncode, direct.stdout, direct.stderr)


def test_training_starts_by_name(tmp_path):
  settings = ("--config.train.steps=2", "--config.evaluation.every=2", "--config.responses.images=128")
  arguments = ("--config", "quickstart", "--only", "kind=residual depth=8", "--workdir", str(tmp_path), *settings)
  done = run("resjax", "train", *arguments)
  assert done.returncode == 0, done.stderr
  assert "python -m resjax.main" in (tmp_path / "quickstart" / "residual-A-d8-s0" / "run.json").read_text()
