"""Runs that never classify better than by guessing say so."""

import fractions
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from resjax import records, report
from resjax.train import chance
from tests import synthetic_runs
from tests.short_run import folder


def at_least(count, images, classes):
  """The probability of `count` or more right guesses, in whole numbers."""
  ways = sum(math.comb(images, k) * (classes - 1) ** (images - k) for k in range(count, images + 1))
  return fractions.Fraction(ways, classes**images)


@pytest.mark.parametrize(("images", "classes"), [(360, 10), (1000, 2), (640, 100)])
@pytest.mark.parametrize("lines", [1, 40])
def test_the_bound_is_that_of_the_binomial_distribution(images, classes, lines):
  limit = fractions.Fraction(chance.LEVEL) / lines
  first = next(count for count in range(images) if at_least(count, images, classes) <= limit)
  others = [(1 - 1 / classes, images)] * (lines - 1)
  assert chance.stays_at_chance([*others, (1 - (first - 1) / images, images)], classes)
  assert not chance.stays_at_chance([*others, (1 - first / images, images)], classes)


def test_guessing_all_along_rarely_counts_as_learning():
  """Of 1,000 runs that guess, with 50 errors each, at most 1 % and three standard errors of that leave chance."""
  wrong = np.random.default_rng(0).binomial(500, 0.9, (1000, 50)) / 500
  left = sum(not chance.stays_at_chance([(error, 500) for error in run], 10) for run in wrong)
  assert left <= 10 + 3 * 10**0.5


@pytest.mark.parametrize("labels", ["random", "learnable"])
def test_a_run_on_random_labels_stays_at_chance(labels, tmp_path):
  random = np.random.default_rng(0)
  images, classes = random.integers(0, 256, (512, 8, 8, 1), np.uint8), random.integers(0, 10, 512)
  if labels == "learnable":
    images = (images // 16 + 24 * classes[:, None, None, None]).astype(np.uint8)  # the brightness is the class
  np.savez(tmp_path / "own.npz", x_train=images[:256], y_train=classes[:256], x_test=images[256:], y_test=classes[256:])
  settings = {"data.name": "npz", "data.path": "own.npz", "train.steps": 12, "execution.log_every": 4}
  settings |= {"train.batch_size": 32, "evaluation.every": 12, "checkpoint.every": 12, "responses.images": 128}
  command = ["-m", "resjax.main", "--config=quickstart", "--only=depth=8 kind=residual", "--workdir=runs"]
  command += [f"--config.{key}={value}" for key, value in settings.items()]
  environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "JAX_PLATFORMS": "cpu"}
  result = subprocess.run(
    [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
  )
  assert result.returncode == 0, result.stderr
  events = [
    event for event in records.read_run(folder(tmp_path / "runs")).run["events"] if event["name"] == records.AT_CHANCE
  ]
  page = (tmp_path / "runs" / "quickstart" / "report.html").read_text()
  assert ("Stayed at chance" in page) == (records.AT_CHANCE in result.stdout) == (labels == "random")
  assert [event["step"] for event in events] == ([12] if labels == "random" else [])
  if events:
    assert events[0]["detail"].startswith("lowest error ")
    assert events[0]["detail"].endswith(" %, guessing among 10 classes 90.00 %")


def test_the_page_names_the_runs(tmp_path):
  synthetic_runs.write_run(tmp_path / "e", depth=20, every=16_000)
  stuck = synthetic_runs.write_run(tmp_path / "e", "plain", depth=20, every=16_000)
  with records.RunWriter(stuck) as writer:
    writer.event(64_000, records.AT_CHANCE, "lowest error 89.50 %, guessing among 10 classes 90.00 %")
  assert report.main([str(tmp_path / "e")]) == 0
  page = (tmp_path / "e" / "report.html").read_text()
  assert "below those of guessing: plain-d20-s0.\n" in page
