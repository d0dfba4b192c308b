"""Commands in README, CONTRIBUTING and docs/ are executed, in a short form; links and named files exist."""

import functools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from tests import synthetic_detection

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OTHER_PAGES = [
  *(ROOT / name for name in ("WORKSPACE.md", "launch/README.md", "benchmarks/README.md", "results/README.md")),
  *sorted((ROOT / "results").glob("*/README.md")),
]
# Settings that make any run short: two steps, small batches and few responses.
SHORT_RUN = (
  *("--config.train.steps=2", "--config.train.batch_size=32", "--config.evaluation.every=2"),
  *("--config.checkpoint.every=1", "--config.responses.images=32", "--config.responses.batch_size=32"),
  *("--config.responses.steps=(0,)", "--config.gradients.steps=()"),
  *("--config.evaluation.batch_size=32", "--config.execution.log_every=2"),
)
SMALL_DETECTOR = (  # for images of 64 pixels
  *("--config.detection.shorter_side=48", "--config.detection.longer_side=64", "--config.detection.regions=8"),
  *("--config.train.batch_size=4", "--config.evaluation.batch_size=4"),
)
RANDOM_IMAGES = (  # in place of data sets that are not available
  "--config.data.name=npz",
  "--config.data.path=own.npz",
)
SHORT_STUDIES = {
  "lesion": ("--images=64", "--batch_size=32", "--counts=1", "--trials=1"),
  "gradients": ("--images=64", "--batch_size=32"),
  "landscape": ("--images=64", "--batch_size=32", "--points=3", "--eigenvalues=1"),
  "curvature": ("--images=64", "--batch_size=32", "--probes=1", "--iterations=4", "--traces=2"),
  "trajectory": ("--images=64", "--batch_size=32", "--points=3"),
  "identity": ("--steps=2",),
  "responses": ("--images=64", "--batch_size=32"),
  "layers": ("--images=64", "--batch_size=32", "--cka_images=32"),
  "init": ("--images=16",),
}


def code_blocks(page: Path, language: str) -> list[str]:
  """Returns the code blocks of a language on a page."""
  return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
  """Returns the commands of a page: the lines of its `sh` blocks, and the commands in its tables."""
  lines = [line for block in code_blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
  cells = re.findall(r"^\| .* \| `(resjax [a-z]+ .*)` \|$", page.read_text(), re.MULTILINE)
  return [*filter(None, (line.partition("  #")[0].strip() for line in lines)), *cells]


COMMANDS = [(page, command) for page in PAGES for command in commands(page)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
  """Returns a folder with data and with two networks of 8 layers that were trained for two steps."""
  root = tmp_path_factory.mktemp("docs")
  (root / "experiments").symlink_to(ROOT / "experiments")
  rng = np.random.default_rng(0)
  images, labels = rng.integers(0, 256, (96, 32, 32, 3), np.uint8), np.arange(96) % 10
  np.savez(root / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
  synthetic_detection.write_voc(root / "cells")
  done = execute(root, "resjax", "train", "--config", "quickstart", "--only", "depth=8", *SHORT_RUN)
  assert done.returncode == 0, done.stderr
  return root


@functools.cache  # several pages have the same command
def execute(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
  """Runs a command of the documentation, on one device, in a folder."""
  module = ["resjax", *words[1:]] if words[0] == "resjax" else words[2:]
  environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_NUM_CPU_DEVICES": "1"}
  command = [sys.executable, "-m", *module]
  return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600)


def shorten(words: list[str]) -> list[str]:
  """Returns a command with further settings that make it short."""
  name = words[1] if words[0] == "resjax" else words[2]
  if name in ("train", "resjax.main") and "--config" in words and "--list" not in words:
    own = () if "quickstart" in words else SMALL_DETECTOR if "detection_depth:small" in words else RANDOM_IMAGES
    short = [word for word in SHORT_RUN if own is not SMALL_DETECTOR or "responses" not in word]
    return [*words, *short, *own]
  return [*words, *SHORT_STUDIES[words[2]]] if name == "study" and "--help" not in words else words


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page.name}: {command}" for page, command in COMMANDS])
def test_a_command_runs(page, command, folder):
  words = shlex.split(command)
  if words[0] == "make":
    targets = [word for word in words[1:] if "=" not in word]
    recipes = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets and set(targets) <= set(recipes)
  elif words[:4] == ["python", "-m", "pip", "install"]:  # executed by tests/install.py
    extras = re.fullmatch(r"\.\[([a-z0-9,]+)\]", words[4])
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras and set(extras[1].split(",")) <= set(known)
  else:
    assert words[0] == "resjax" or words[:2] == ["python", "-m"], f"{command}: not known to this test"
    done = execute(folder, *shorten(words))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_code_runs(page, folder):
  for code in code_blocks(page, "python"):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_named_files_exist(page):
  text = page.read_text()
  for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
    assert target.startswith("https://") or (page.parent / target).exists(), target
  named = re.findall(r"`((?:resjax|tests|docs|launch|results|experiments|benchmarks)/[\w/.-]*)`", text)
  missing = [path for path in named if not (ROOT / path).exists()]
  assert not missing


def test_every_page_is_linked_from_the_readme():
  readme = (ROOT / "README.md").read_text()
  assert all(f"(docs/{page.name})" in readme for page in (ROOT / "docs").glob("*.md"))
  assert len(COMMANDS) > 25
