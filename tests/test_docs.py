"""Every command of README, CONTRIBUTING and docs/ runs, training ones for two steps; links lead somewhere."""

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
# Settings that make any run short: two steps, few responses, and small images in place of those that are not there.
SHORT = (
  *("--config.train.steps=2", "--config.train.batch_size=32", "--config.evaluation.every=2"),
  *("--config.checkpoint.every=1", "--config.responses.images=32", "--config.responses.batch_size=32"),
  *("--config.responses.steps=(0,)", "--config.gradients.steps=()"),
  *("--config.evaluation.batch_size=32", "--config.execution.log_every=2"),
)
DETECTION = (  # of images of 64 pixels, in place of larger ones
  *("--config.detection.shorter_side=48", "--config.detection.longer_side=64", "--config.detection.regions=8"),
  *("--config.train.batch_size=4", "--config.evaluation.batch_size=4"),
)
ARRAYS = ("--config.data.name=npz", "--config.data.path=own.npz")
STUDIES = {  # what a study does much of, it does little of
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


def blocks(page: Path, language: str) -> list[str]:
  return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
  """Returns the lines of the `sh` blocks, and the commands in tables of what to do."""
  lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
  cells = re.findall(r"^\| .* \| `(resjax [a-z]+ .*)` \|$", page.read_text(), re.MULTILINE)
  return [*filter(None, (line.partition("  #")[0].strip() for line in lines)), *cells]


EVERY = [(page, command) for page in PAGES for command in commands(page)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
  """A folder in which two networks of 8 layers have been trained for two steps."""
  root = tmp_path_factory.mktemp("docs")
  (root / "experiments").symlink_to(ROOT / "experiments")
  rng = np.random.default_rng(0)
  images, labels = rng.integers(0, 256, (96, 32, 32, 3), np.uint8), np.arange(96) % 10
  np.savez(root / "own.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
  synthetic_detection.voc(root / "cells")
  called = execute(root, "resjax", "train", "--config", "quickstart", "--only", "depth=8", *SHORT)
  assert called.returncode == 0, called.stderr
  return root


@functools.cache  # several pages name the same command
def execute(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
  module = ["resjax", *words[1:]] if words[0] == "resjax" else words[2:]
  environment = os.environ | {"PYTHONPATH": str(ROOT)}
  command = [sys.executable, "-m", *module]
  return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600)


def shortened(words: list[str]) -> list[str]:
  """Returns the command with the settings that make it short."""
  name = words[1] if words[0] == "resjax" else words[2]
  if name in ("train", "resjax.main") and "--config" in words and "--list" not in words:
    own = () if "quickstart" in words else DETECTION if "detection_depth:small" in words else ARRAYS
    short = [word for word in SHORT if own is not DETECTION or "responses" not in word]
    return [*words, *short, *own]
  return [*words, *STUDIES[words[2]]] if name == "study" and "--help" not in words else words


@pytest.mark.parametrize(("page", "command"), EVERY, ids=[f"{page.name}: {command}" for page, command in EVERY])
def test_a_command_runs(page, command, folder):
  words = shlex.split(command)
  if words[0] == "make":
    targets = [word for word in words[1:] if "=" not in word]
    recipes = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets and set(targets) <= set(recipes)
  elif words[:4] == ["python", "-m", "pip", "install"]:  # tried by tests/install.py
    extras = re.fullmatch(r"\.\[([a-z0-9,]+)\]", words[4])
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras and set(extras[1].split(",")) <= set(known)
  else:
    assert words[0] == "resjax" or words[:2] == ["python", "-m"], f"{command}: not known to this test"
    called = execute(folder, *shortened(words))
    assert called.returncode == 0, called.stdout + called.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_runs(page, folder):
  for code in blocks(page, "python"):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


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
  assert len(EVERY) > 25
