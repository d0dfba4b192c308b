"""Runs that never classify better than by guessing are marked in records and report."""

import fractions
import math

import numpy as np
import pytest

from resjax import records, report
from resjax.train import chance
from tests import synthetic_runs
from tests.short_run import ONLY, finish, run_directory, start_main


def fewest_unlikely_guesses(images, classes, limit):
  """Returns the least number of correct guesses that is reached with a probability of at most `limit`, exactly."""
  ways, count = 0, images + 1
  while ways * limit.denominator <= limit.numerator * classes**images:
    count -= 1
    ways += math.comb(images, count) * (classes - 1) ** (images - count)
  return count + 1


@pytest.mark.parametrize(("images", "classes"), [(360, 10), (1000, 2), (640, 100)])
@pytest.mark.parametrize("lines", [1, 40])
def test_the_bound_is_that_of_the_binomial_distribution(images, classes, lines):
  limit = fractions.Fraction(chance.SIGNIFICANCE) / lines
  first = fewest_unlikely_guesses(images, classes, limit)
  others = [(1 - 1 / classes, images)] * (lines - 1)
  assert chance.stays_at_chance([*others, (1 - (first - 1) / images, images)], classes)
  assert not chance.stays_at_chance([*others, (1 - first / images, images)], classes)


def test_runs_that_guess_rarely_count_as_learning():
  """Of 1,000 guessing runs with 50 evaluations each, at most 1 % plus three standard errors count as learning."""
  wrong = np.random.default_rng(0).binomial(500, 0.9, (1000, 50)) / 500
  learning = sum(not chance.stays_at_chance([(error, 500) for error in run], 10) for run in wrong)
  assert learning <= 10 + 3 * 10**0.5


@pytest.mark.parametrize("labels", ["random", "learnable"])
def test_a_run_on_random_labels_stays_at_chance(labels, environment, tmp_path):
  random = np.random.default_rng(0)
  images, classes = random.integers(0, 256, (512, 8, 8, 1), np.uint8), random.integers(0, 10, 512)
  if labels == "learnable":
    images = (images // 16 + 24 * classes[:, None, None, None]).astype(np.uint8)  # the brightness is the class
  np.savez(tmp_path / "own.npz", x_train=images[:256], y_train=classes[:256], x_test=images[256:], y_test=classes[256:])
  settings = {"data.name": "npz", "data.path": str(tmp_path / "own.npz"), "train.steps": 12, "execution.log_every": 4}
  settings |= {"train.batch_size": 32, "evaluation.every": 12, "checkpoint.every": 12, "responses.images": 128}
  code, out, err = finish(start_main("quickstart", tmp_path / "runs", settings, environment, ONLY))
  assert code == 0, err
  run = records.read_run(run_directory(tmp_path / "runs")).run
  events = [event for event in run["events"] if event["name"] == records.AT_CHANCE]
  page = (tmp_path / "runs" / "quickstart" / "report.html").read_text()
  assert ("Runs that stayed at chance" in page) == (records.AT_CHANCE in out) == (labels == "random")
  assert [event["step"] for event in events] == ([12] if labels == "random" else [])
  if events:
    assert events[0]["detail"].startswith("lowest error ")
    assert events[0]["detail"].endswith(" %; error of guessing among 10 classes 90.00 %")


def test_the_report_names_runs_that_stayed_at_chance(tmp_path):
  synthetic_runs.write_run(tmp_path / "e", depth=20, every=16_000)
  stuck = synthetic_runs.write_run(tmp_path / "e", "plain", depth=20, every=16_000)
  with records.RunWriter(stuck) as writer:
    writer.event(64_000, records.AT_CHANCE, "lowest error 89.50 %, guessing among 10 classes 90.00 %")
  assert report.main([str(tmp_path / "e")]) == 0
  page = (tmp_path / "e" / "report.html").read_text()
  assert "below that of guessing: plain-d20-s0.\n" in page
