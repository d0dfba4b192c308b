"""Runs as one program through the command line: each as if it had been alone."""

import os
import signal
import subprocess
import sys
import time

import pytest

from resjax import records

EXPERIMENT = '''"""Do two seeds differ, and what does a rate without bounds do?"""

from resjax import config
from resjax.sweep import axis, chain


def get_config(variant=""):
  c = config.default()
  c.model.depth = 8
  c.data.name = "digits"
  c.data.pad = 1
  c.train.steps = 40
  c.train.batch_size = 64
  c.evaluation.every = 20
  c.evaluation.batch_size = 128
  c.responses.images = 256
  c.responses.batch_size = 128
  c.checkpoint.every = 10
  c.execution.log_every = 5
  return c


def sweep(variant=""):
  return chain(axis("seed", (0, 1)), axis("train.learning_rate", (1e38,)))
'''


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
  compiled = tmp_path_factory.mktemp("compiled")
  return {**os.environ, "JAX_NUM_CPU_DEVICES": "2", "JAX_COMPILATION_CACHE_DIR": str(compiled)}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
  path = tmp_path_factory.mktemp("experiment") / "seeds.py"
  path.write_text(EXPERIMENT)
  return path


def start(experiment, workdir, environment, together):
  command = [sys.executable, "-m", "resjax.main", "--config", str(experiment), "--workdir", str(workdir)]
  command.append(f"--config.execution.runs_per_program={together}")
  return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
  out, err = process.communicate(timeout=300)
  return process.returncode, out, err


def read(workdir):
  """Returns the runs by id."""
  return {run.run["id"]: run for run in map(records.read_run, records.find_runs(workdir))}


def what_counts(run):
  timed = ("seconds", "images_per_second")
  metrics = [{key: value for key, value in row.items() if key not in timed} for row in run.metrics]
  return run.run["status"], run.run["params_digest"], run.run["result"], metrics, run.responses


@pytest.fixture(scope="module")
def alone(experiment, environment, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("alone")
  code, _, err = finish(start(experiment, workdir, environment, together=1))
  assert code == 1, err  # one run fails
  return read(workdir)


@pytest.fixture(scope="module")
def together(experiment, environment, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("together")
  code, _, err = finish(start(experiment, workdir, environment, together=5))
  assert code == 1, err
  assert "Traceback" not in err
  return read(workdir)


def test_each_run_has_its_own_records_as_if_alone(alone, together):
  assert set(alone) == set(together)
  assert len(alone) == 3
  for name, run in alone.items():
    other = together[name]
    assert [row["step"] for row in other.metrics] == [row["step"] for row in run.metrics]
    assert [row["name"] for row in other.responses] == [row["name"] for row in run.responses]
    same = ("id", "status", "seed", "config_digest", "data", "deviations", "steps", "step")
    assert {key: other.run[key] for key in same} == {key: run.run[key] for key in same}
    for row, expected in zip(other.metrics[:2], run.metrics[:2], strict=True):  # ten steps, as the contract has it
      assert row["loss"] == pytest.approx(expected["loss"], rel=1e-3)
  done = [run for run in together.values() if run.run["status"] == "done"]
  assert len({run.run["params_digest"] for run in done}) == len(done) == 2


def test_a_run_that_fails_stops_no_other(together):
  (failed,) = [run.run for run in together.values() if run.run["status"] == "failed"]
  assert failed["reason"].startswith("the loss is not finite at step ")


def test_stopped_and_continued_is_the_same_to_the_bit(experiment, environment, tmp_path, together):
  process = start(experiment, tmp_path, environment, together=5)
  while not list(tmp_path.glob("*/*/checkpoints/10")):
    assert process.poll() is None, finish(process)
    time.sleep(0.02)
  process.send_signal(signal.SIGTERM)
  code, _, err = finish(process)
  assert code == 75, err
  going = [run.run for run in read(tmp_path).values() if run.run["status"] != "failed"]
  assert {run["status"] for run in going} == {"preempted"}
  assert len({run["step"] for run in going}) == 1
  code, _, err = finish(start(experiment, tmp_path, environment, together=5))
  assert code == 1, err
  again = read(tmp_path)
  for name, run in together.items():
    if run.run["status"] == "done":
      assert what_counts(again[name]) == what_counts(run)
