"""Runs on a real Slurm of two nodes on this machine: an array, requeued jobs, a run over two tasks.

RESJAX_SLURM=1 runs it, as `make test-slurm` does; it needs root and Slurm's daemons.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from resjax import records
from tests.in_process_commands import loaded
from tests.slurm import cluster

pytestmark = pytest.mark.skipif("RESJAX_SLURM" not in os.environ, reason="needs a Slurm: make test-slurm")
REPOSITORY = Path(__file__).parents[2]
PATIENCE = 900  # seconds for what takes some on an idle machine
SIX = '''"""Are six small runs done?"""

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
  """The environment of Slurm's commands, with two devices a process."""
  with cluster.running(tmp_path_factory.mktemp("slurm") / "cluster") as environment:
    yield environment | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(REPOSITORY)}


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
  path = tmp_path_factory.mktemp("experiment") / "six.py"
  path.write_text(SIX)
  return path


def called(command: list[str], environment: dict[str, str]) -> str:
  done = subprocess.run(command, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr
  return done.stdout


def submitted(slurm, experiment, workdir, *arguments: str) -> str:
  """Sends runs; returns the id of the job."""
  launcher = [sys.executable, "-m", "launch.slurm", f"--config={experiment}", f"--workdir={workdir}"]
  return called([*launcher, *arguments], slurm).split(" as job ")[1].split(";")[0]


def wait_for(condition: Callable[[], bool], what: str) -> None:
  until = time.monotonic() + PATIENCE
  while not condition():
    assert time.monotonic() < until, f"{what}: not within {PATIENCE} s"
    time.sleep(0.5)


def begun(directory: Path) -> bool:
  """Whether a run has logged steps and has far to go."""
  if not (directory / "metrics.jsonl").exists():
    return False
  last = max((row["step"] for row in records.read_run(directory).metrics), default=0)
  return 0 < last < 300


def left(slurm, job: str) -> list[str]:
  """The states of the jobs of an array that have not ended."""
  return called(["squeue", "--noheader", "--array", "--format=%T", f"--jobs={job}"], slurm).split()


def test_an_array_of_six_two_of_them_requeued_in_mid_run(slurm, experiment, tmp_path):
  """One by Slurm, as when it takes a node away; one by a signal, as before the time limit, by exit code 75."""
  array = submitted(slurm, experiment, tmp_path, "--parallel=2", "--time=30", "--cpus=1")
  runs = tmp_path / "six"
  wait_for(lambda: begun(runs / "residual-A-d8-s0"), "the first run")
  assert len([state for state in left(slurm, array) if state == "RUNNING"]) <= 2  # the throttle
  called(["scontrol", "requeue", f"{array}_0"], slurm)
  wait_for(lambda: begun(runs / "plain-d8-s0"), "the second run")
  # Of a signal that it has delivered scancel may still say "try again later": what comes of it is asked below.
  subprocess.run(["scancel", "--signal=TERM", f"{array}_1"], env=slurm, check=False)
  wait_for(lambda: not left(slurm, array), "the array")
  status = called(
    [sys.executable, "-m", "launch.slurm", f"--config={experiment}", f"--workdir={tmp_path}", "--status"], slurm
  )
  print(status)
  ended = [records.read_run(path).run for path in records.find_runs(runs)]
  assert [run["status"] for run in ended] == ["done"] * 6
  for name in ("residual-A-d8-s0", "plain-d8-s0"):
    events = [event["name"] for event in records.read_run(runs / name).run["events"]]
    assert events.count("restored") == 1, name
  for index, name in ((0, "residual-A-d8-s0"), (1, "plain-d8-s0")):
    alone = tmp_path / "alone"
    main = [sys.executable, "-m", "resjax.main", f"--config={experiment}", f"--workdir={alone}", f"--index={index}"]
    called(main, slurm)
    there, here = (records.read_run(folder / "six" / name).run["params_digest"] for folder in (tmp_path, alone))
    assert there == here, name


BATCH = """#!/bin/bash
#SBATCH --requeue --array=0-0 --output=/dev/null
echo >> {starts}
srun bash -c 'trap "exit 75" TERM; sleep 600 & wait'
"""


def test_what_is_cancelled_does_not_come_back_and_what_a_signal_stops_does(slurm, tmp_path):
  with loaded("launch.slurm") as launcher:
    requeue = launcher.REQUEUE
  starts, script = tmp_path / "starts", tmp_path / "job.sh"
  script.write_text(BATCH.format(starts=starts) + requeue)

  def started(times: int) -> bool:
    steps = called(["squeue", "--noheader", "--steps", f"--jobs={job}"], slurm)
    return starts.exists() and len(starts.read_text().splitlines()) == times and ".0" in steps

  job = called(["sbatch", "--parsable", str(script)], slurm).strip()
  wait_for(lambda: started(1), "the first start")
  time.sleep(1)  # until the trap is set
  subprocess.run(["scancel", "--signal=TERM", f"{job}_0"], env=slurm, check=False)
  wait_for(lambda: started(2), "the second start")
  time.sleep(1)
  called(["scancel", job], slurm)
  wait_for(lambda: not left(slurm, job), "the end")
  time.sleep(15)  # longer than a requeued job waits here
  assert len(starts.read_text().splitlines()) == 2


def test_a_run_over_two_tasks(slurm, experiment, tmp_path):
  job = submitted(
    slurm, experiment, tmp_path, "--only=id=residual-A-d8-s0", "--tasks=2", "--config.execution.devices=4"
  )
  wait_for(lambda: not left(slurm, job), "the run")
  run = records.read_run(tmp_path / "six" / "residual-A-d8-s0").run
  assert run["status"] == "done"
  assert (run["devices"]["processes"], run["devices"]["count"]) == (2, 4)
