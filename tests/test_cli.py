"""The command `resjax`: its list of commands, its version, and the equivalence to `python -m resjax.MODULE`."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import resjax
from resjax.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
  """Runs `python -m ARGUMENTS` in the root of the repository."""
  return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("help",)])
def test_commands_are_listed_with_summaries(arguments):
  listed = run("resjax", *arguments)
  assert (listed.returncode, listed.stderr) == (0, "")
  lines = {line.split()[1]: line.split(maxsplit=2)[2] for line in listed.stdout.splitlines() if "  resjax " in line}
  assert list(lines) == list(COMMANDS) and all(len(summary) > 20 for summary in lines.values())


def test_the_version_is_the_same_everywhere():
  assert run("resjax", "--version").stdout == f"resjax {resjax.__version__}\n"
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())
  assert "version" not in project["project"] and project["project"]["dynamic"] == ["version"]
  assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "resjax.__version__"}
  assert project["project"]["scripts"] == {"resjax": "resjax.__main__:main"}
  assert f"## {resjax.__version__}" in (ROOT / "CHANGELOG.md").read_text()
  assert f"\nversion: {resjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_an_unknown_command_is_a_one_line_error():
  wrong = run("resjax", "trane")
  assert (wrong.returncode, wrong.stdout) == (2, "")
  assert wrong.stderr == f"resjax: 'trane' is not a command: use one of {', '.join(COMMANDS)}\n"


@pytest.mark.parametrize("name", ["train", "report", "summary", "plan"])
def test_a_command_behaves_like_its_module(name):
  """Output, errors and exit codes of a valid and of an invalid command line are the same."""
  for arguments in (["--help"], ["--no_such_flag"]):
    by_name, direct = (run(*start, *arguments) for start in (("resjax", name), (f"resjax.{COMMANDS[name]}",)))
    assert (by_name.returncode, by_name.stdout, by_name.stderr) == (direct.returncode, direct.stdout, direct.stderr)


def test_a_run_can_be_trained_by_the_command(tmp_path):
  settings = ("--config.train.steps=2", "--config.evaluation.every=2", "--config.responses.images=128")
  arguments = ("--config", "quickstart", "--only", "kind=residual depth=8", "--workdir", str(tmp_path), *settings)
  done = run("resjax", "train", *arguments)
  assert done.returncode == 0, done.stderr
  assert "python -m resjax.main" in (tmp_path / "quickstart" / "residual-A-d8-s0" / "run.json").read_text()
