"""Runs on a real Slurm cluster of two nodes on this machine: an array, requeued jobs, and a run on two tasks.

They are executed with RESJAX_SLURM=1, as by `make test-slurm`, and need root and the daemons of Slurm.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from resjax import records
from tests.in_process_commands import import_command
from tests.slurm import cluster

pytestmark = pytest.mark.skipif("RESJAX_SLURM" not in os.environ, reason="needs a Slurm: make test-slurm")
REPOSITORY = Path(__file__).parents[2]
TIMEOUT = 900  # seconds; on an idle machine each wait takes a few
EXPERIMENT = '''"""Are six small runs done?"""

from resjax import config
from resjax.sweep import axis, product


def get_config(variant=""):
  c = config.default()
  c.model.depth, c.data.name, c.data.pad, c.data.mirror = 8, "digits", 1, False
  c.train.steps, c.train.batch_size, c.evaluation.every, c.evaluation.batch_size = 2000, 64, 0, 120
  c.responses.final, c.responses.images, c.responses.batch_size = False, 240, 120
  c.checkpoint.every, c.execution.log_every = 500, 1
  c.execution.devices = 2
  return c


def sweep(variant=""):
  return product(axis("seed", range(3)), axis("model.kind", ("residual", "plain")))
'''


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
  """Yields the environment of Slurm's commands, with two devices per process."""
  with cluster.running(tmp_path_factory.mktemp("slurm") / "cluster") as environment:
    yield environment | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
  """Returns the path of an experiment of six runs."""
  path = tmp_path_factory.mktemp("experiment") / "six.py"
  path.write_text(EXPERIMENT)
  return path


def run(command: list[str], environment: dict[str, str]) -> str:
  """Runs a command that must succeed and returns what it prints."""
  done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  return done.stdout


def submit(slurm, experiment, workdir, *arguments: str) -> str:
  """Submits runs and returns the id of the job."""
  launcher = [sys.executable, "-m", "launch.slurm", f"--config={experiment}", f"--workdir={workdir}"]
  return run([*launcher, *arguments], slurm).split(" as job ")[1].split(";")[0]


def wait_for(condition: Callable[[], bool], description: str) -> None:
  """Waits until a condition is true."""
  deadline = time.monotonic() + TIMEOUT
  while not condition():
    assert time.monotonic() < deadline, f"{description}: not within {TIMEOUT} s"
    time.sleep(0.5)


def is_training(directory: Path) -> bool:
  """Returns whether a run has logged steps and is far from its end."""
  if not (directory / "metrics.jsonl").exists():
    return False
  last = max((row["step"] for row in records.read_run(directory).metrics), default=0)
  return 0 < last < 300


def unfinished(slurm, job: str) -> list[str]:
  """Returns the states of the jobs of an array that have not ended."""
  return run(["squeue", "--noheader", "--array", "--format=%T", f"--jobs={job}"], slurm).split()


def test_requeued_runs_of_an_array_are_bit_identical(slurm, experiment, tmp_path):
  """One run is requeued by Slurm, as after a node failure, one by exit code 75 after a signal."""
  array = submit(slurm, experiment, tmp_path, "--parallel=2", "--time=30", "--cpus=1")
  runs = tmp_path / "six"
  wait_for(lambda: is_training(runs / "residual-A-d8-s0"), "the first run")
  assert len([state for state in unfinished(slurm, array) if state == "RUNNING"]) <= 2  # the throttle
  run(["scontrol", "requeue", f"{array}_0"], slurm)
  wait_for(lambda: is_training(runs / "plain-d8-s0"), "the second run")
  # scancel may print "try again later" although it has delivered the signal; its effect is tested below.
  subprocess.run(["scancel", "--signal=TERM", f"{array}_1"], env=slurm, check=False)
  wait_for(lambda: not unfinished(slurm, array), "the array")
  status = run(
    [sys.executable, "-m", "launch.slurm", f"--config={experiment}", f"--workdir={tmp_path}", "--status"], slurm
  )
  print(status)
  ended = [records.read_run(path).run for path in records.find_runs(runs)]
  assert [run["status"] for run in ended] == ["done"] * 6
  for name in ("residual-A-d8-s0", "plain-d8-s0"):
    events = [event["name"] for event in records.read_run(runs / name).run["events"]]
    assert events.count("restored") == 1, name
  for index, name in ((0, "residual-A-d8-s0"), (1, "plain-d8-s0")):
    separate = tmp_path / "separate"
    main = [sys.executable, "-m", "resjax.main", f"--config={experiment}", f"--workdir={separate}", f"--index={index}"]
    run(main, slurm)
    folders = (tmp_path / "six" / name, separate / "six" / name)
    requeued, expected = (records.read_run(folder).run["params_digest"] for folder in folders)
    assert requeued == expected, name


BATCH = """#!/bin/bash
#SBATCH --requeue --array=0-0 --output=/dev/null
echo >> {starts}
srun bash -c 'trap "exit 75" TERM; sleep 600 & wait'
"""


def test_a_stopped_job_is_requeued_and_a_cancelled_one_is_not(slurm, tmp_path):
  with import_command("launch.slurm") as launcher:
    requeue = launcher.REQUEUE
  starts, script = tmp_path / "starts", tmp_path / "job.sh"
  script.write_text(BATCH.format(starts=starts) + requeue)

  def started(times: int) -> bool:
    steps = run(["squeue", "--noheader", "--steps", f"--jobs={job}"], slurm)
    return starts.exists() and len(starts.read_text().splitlines()) == times and ".0" in steps

  job = run(["sbatch", "--parsable", str(script)], slurm).strip()
  wait_for(lambda: started(1), "the first start")
  time.sleep(1)  # until the trap is set
  subprocess.run(["scancel", "--signal=TERM", f"{job}_0"], env=slurm, check=False)
  wait_for(lambda: started(2), "the second start")
  time.sleep(1)
  run(["scancel", job], slurm)
  wait_for(lambda: not unfinished(slurm, job), "the end")
  time.sleep(15)  # longer than a requeued job waits here
  assert len(starts.read_text().splitlines()) == 2


def test_a_run_on_two_tasks_has_two_processes(slurm, experiment, tmp_path):
  job = submit(slurm, experiment, tmp_path, "--only=id=residual-A-d8-s0", "--tasks=2", "--config.execution.devices=4")
  wait_for(lambda: not unfinished(slurm, job), "the run")
  run = records.read_run(tmp_path / "six" / "residual-A-d8-s0").run
  assert run["status"] == "done"
  assert (run["devices"]["processes"], run["devices"]["count"]) == (2, 4)
