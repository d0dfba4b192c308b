"""Files beside the code: pre-commit and continuous integration run the checks of the Makefile; the citation."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
yaml = pytest.importorskip("yaml")


def recipe(target: str) -> list[str]:
  """Returns the commands of a target in the Makefile."""
  _, rest = (ROOT / "Makefile").read_text().split(f"\n{target}: ", 1)
  lines = rest.splitlines()[1:]
  return [line.strip() for line in lines[: lines.index("")]]


def test_pre_commit_runs_the_checks_of_make_lint():
  hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
  checks = [command.replace("$(BIN)", ".venv/bin").replace(" --check", "") for command in recipe("lint")]
  assert [hook["entry"].replace(" --fix", "") for hook in hooks] == checks


def test_the_workflow_runs_all_parts_on_every_supported_python():
  (job,) = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yaml").read_text())["jobs"].values()
  matrix = job["strategy"]["matrix"]
  requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
  low, high = map(int, re.findall(r"3\.(\d+)", requires))
  assert matrix["python"] == [f"3.{minor}" for minor in range(low, high)]
  assert matrix["part"] == re.findall(r"^      (\w+)\) make", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
  assert job["steps"][-1]["run"] == ".ci/run ${{ matrix.part }}"


def test_an_unknown_part_of_continuous_integration_is_an_error():
  ended = subprocess.run([ROOT / ".ci" / "run", "nope"], capture_output=True, text=True, check=False)
  assert (ended.returncode, ended.stderr) == (2, ".ci/run: nope is not a part: test, install\n")


def test_the_citation_file_has_software_and_paper():
  citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
  assert citation["cff-version"] == "1.2.0" and citation["type"] == "software" and citation["authors"]
  (paper,) = citation["references"]
  assert paper["title"] == "Deep Residual Learning for Image Recognition"
  assert [author["family-names"] for author in paper["authors"]] == ["He", "Zhang", "Ren", "Sun"]
