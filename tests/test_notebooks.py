"""The notebooks run over the logs in the repository, without JAX, and agree with their paired text files."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.py"))
CODE = """
import importlib.abc, runpy, sys

class Absent(importlib.abc.MetaPathFinder):
  def find_spec(self, name, path, target=None):
    if name.split(".")[0] in ("jax", "jaxlib", "flax", "optax", "orbax"):
      raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
sys.path.insert(0, "..")
for name in sys.argv[1:]:
  runpy.run_path(name)
  print(name, flush=True)
"""


def test_there_are_the_five_documented_notebooks():
  assert [path.stem for path in NOTEBOOKS] == [
    *("01_read_the_logs", "02_depth_and_degradation", "03_responses", "04_lesions_and_gradients", "05_scaling"),
  ]


def test_notebooks_run_without_jax():
  names = [path.name for path in NOTEBOOKS]
  run = [sys.executable, "-W", "error", "-c", CODE, *names]
  ended = subprocess.run(run, cwd=FOLDER, capture_output=True, text=True, check=False)
  assert (ended.returncode, ended.stdout.split()) == (0, names), ended.stderr


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_the_cells_of_its_text_file_and_no_outputs(path):
  jupytext = pytest.importorskip("jupytext", reason="the extra notebooks is not installed")
  text, notebook = jupytext.read(path), jupytext.read(path.with_suffix(".ipynb"))
  assert [(cell.cell_type, cell.source) for cell in text.cells] == [
    (cell.cell_type, cell.source) for cell in notebook.cells
  ]
  assert all(not cell.get("outputs") for cell in notebook.cells)  # outputs are computed by the reader
