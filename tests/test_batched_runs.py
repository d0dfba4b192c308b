"""Several runs in one program through the command line: each has the records that it has alone."""

import signal
import time

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractDevice, AbstractMesh

from resjax import listing, mesh, records
from resjax.config import Config, Data, Execution, Model
from resjax.train import batched_runs, program
from tests.short_run import finish, reproducible_part, start_main

EXPERIMENT = '''"""Do two seeds differ, and what does a very large learning rate do?"""

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
def experiment(tmp_path_factory):
  """Returns the path of an experiment of three runs, of which one diverges."""
  path = tmp_path_factory.mktemp("experiment") / "seeds.py"
  path.write_text(EXPERIMENT)
  return path


def start(experiment, workdir, environment, runs_per_program):
  """Starts the experiment and returns the process."""
  settings = {"execution.runs_per_program": str(runs_per_program)}
  return start_main(str(experiment), workdir, settings, environment)


def read(workdir):
  """Returns the runs below a work directory by id."""
  return {run.run["id"]: run for run in map(records.read_run, records.find_runs(workdir))}


@pytest.fixture(scope="module")
def separate(experiment, environment, tmp_path_factory):
  """Returns the runs of the experiment, each executed by a program of its own."""
  workdir = tmp_path_factory.mktemp("separate")
  code, _, err = finish(start(experiment, workdir, environment, runs_per_program=1))
  assert code == 1, err  # one run fails
  return read(workdir)


@pytest.fixture(scope="module")
def batched(experiment, environment, tmp_path_factory):
  """Returns the runs of the experiment, all executed by one program."""
  workdir = tmp_path_factory.mktemp("batched")
  code, _, err = finish(start(experiment, workdir, environment, runs_per_program=5))
  assert code == 1, err
  assert "Traceback" not in err
  return read(workdir)


def test_batched_runs_have_the_records_of_separate_runs(separate, batched):
  assert set(separate) == set(batched)
  assert len(separate) == 3
  for name, run in separate.items():
    other = batched[name]
    assert [row["step"] for row in other.metrics] == [row["step"] for row in run.metrics]
    assert [row["name"] for row in other.responses] == [row["name"] for row in run.responses]
    same = ("id", "status", "seed", "config_digest", "data", "deviations", "steps", "step")
    assert {key: other.run[key] for key in same} == {key: run.run[key] for key in same}
    for line, expected in zip(other.metrics[:2], run.metrics[:2], strict=True):  # ten steps: the contract's bound
      assert line["loss"] == pytest.approx(expected["loss"], rel=1e-3)
  done = [run for run in batched.values() if run.run["status"] == "done"]
  assert len({run.run["params_digest"] for run in done}) == len(done) == 2


def test_a_run_that_fails_does_not_stop_the_others(batched):
  (failed,) = [run.run for run in batched.values() if run.run["status"] == "failed"]
  assert failed["reason"].startswith("the loss is not finite at step ")


def test_batched_runs_that_are_stopped_and_continued_are_bit_identical(experiment, environment, tmp_path, batched):
  process = start(experiment, tmp_path, environment, runs_per_program=5)
  while not list(tmp_path.glob("*/*/checkpoints/10")):
    assert process.poll() is None, finish(process)
    time.sleep(0.02)
  process.send_signal(signal.SIGTERM)
  code, _, err = finish(process)
  assert code == 75, err
  stopped = [run.run for run in read(tmp_path).values() if run.run["status"] != "failed"]
  assert {run["status"] for run in stopped} == {"preempted"}
  assert len({run["step"] for run in stopped}) == 1
  code, _, err = finish(start(experiment, tmp_path, environment, runs_per_program=5))
  assert code == 1, err
  continued = read(tmp_path)
  for name, run in batched.items():
    if run.run["status"] == "done":
      assert reproducible_part(continued[name]) == reproducible_part(run)


def test_the_program_for_several_runs_has_the_state_of_each():
  config = Config(model=Model(depth=8), data=Data(name="digits"), execution=Execution(devices=1, runs_per_program=3))
  traced = program.trace(config, listing.net(config), mesh.make(config))
  states, hyperparameters = traced.args_info[0][:2]
  assert {leaf.shape[0] for leaf in jax.tree.leaves((states, hyperparameters))} == {3}


@pytest.mark.parametrize(("platform", "loops"), [("cpu", True), ("tpu", False)])
def test_runs_are_mapped_as_on_the_platform_of_the_mesh(platform, loops):
  """A plan traces on a CPU for a TPU, on which the runs are one batched computation."""
  device = AbstractDevice("any", 1, platform)
  with jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("data",), abstract_device=device)):
    traced = jax.make_jaxpr(lambda x: batched_runs.map_runs(jnp.sin, x))(jnp.ones(3))
  assert ("scan" in str(traced)) == loops
