"""The launcher for this machine: slots, restarts, signals and exit codes. Most jobs are small shell scripts."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from launch import jobs, resources
from launch.jobs import Job
from launch.pool import Pool
from launch.resources import Slot
from resjax import registry
from resjax.records import RunWriter
from resjax.settings import ConfigError
from tests.in_process_commands import run_command

pytestmark = pytest.mark.usefixtures("handlers")


@pytest.fixture
def six(tmp_path) -> list[Job]:
  """Returns jobs for the six runs of the experiment quickstart."""
  runs = registry.find("quickstart").runs()
  return [Job(run, index, ("--config=quickstart",), str(tmp_path)) for index, run in enumerate(runs)]


class Shell:
  """Starts a shell script for each job.

  Attributes:
    started: Run id and slot number of each start.
    processes: Processes of all starts.
    most: Largest number of processes that were running at a time.
  """

  def __init__(self, script: str, folder):
    self.script, self.folder = script, folder
    self.started: list[tuple[str, int]] = []
    self.processes: list[subprocess.Popen] = []
    self.most = 0

  def __call__(self, job: Job, slot: Slot) -> subprocess.Popen:
    self.started.append((job.run.id, slot.number))
    alive = sum(process.poll() is None for process in self.processes)
    self.most = max(self.most, alive + 1)
    environment = os.environ | {"ID": job.run.id}
    line = ["bash", "-c", self.script]
    self.processes.append(subprocess.Popen(line, cwd=self.folder, env=environment, process_group=0))
    return self.processes[-1]


def run_pool(script: str, six: list[Job], folder, count: int = 2) -> tuple[int, Shell, list[str]]:
  """Runs a script for each job in a pool.

  Args:
    script: Shell script, which finds the id of its run in the variable ID.
    six: Jobs.
    folder: Working directory of the scripts.
    count: Number of slots.

  Returns:
    Exit code of the pool, the record of starts, and the lines that the pool logged.
  """
  shell, lines = Shell(script, folder), []
  pool = Pool([Slot(i, (0,), ()) for i in range(count)], shell, lines.append)
  return pool.run(six), shell, lines


def test_all_jobs_are_done_with_at_most_one_per_slot(six, tmp_path):
  code, shell, lines = run_pool("sleep 0.05", six, tmp_path)
  assert (code, shell.most, len(shell.started)) == (0, 2, 6)
  assert {slot for _, slot in shell.started} == {0, 1}
  assert sum(line.endswith(" done") for line in lines) == 6


def test_a_job_with_exit_code_75_is_restarted_until_it_is_done(six, tmp_path):
  script = "echo >> $ID; [ $(wc -l < $ID) -ge 3 ] || exit 75"
  code, shell, lines = run_pool(script, six[:2], tmp_path)
  assert code == 0
  assert sorted(name for name, _ in shell.started) == sorted([job.run.id for job in six[:2]] * 3)
  assert sum("is restarted" in line for line in lines) == 4


def test_a_failed_job_does_not_stop_the_others(six, tmp_path):
  code, shell, lines = run_pool("case $ID in plain-d8*) exit 1;; plain-d20*) kill -9 $$;; esac", six, tmp_path)
  assert (code, len(shell.started)) == (1, 6)
  assert "plain-d8-s0 failed" in lines
  assert "plain-d20-s0 killed by signal 9" in lines


def test_exit_code_2_ends_the_pool_without_further_starts(six, tmp_path):
  code, shell, _ = run_pool("exit 2", six, tmp_path, count=1)
  assert (code, len(shell.started)) == (2, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_forwarded_once_and_no_further_job_is_started(six, tmp_path, number):
  """A run saves and exits with 75 after one signal; a second signal would end it immediately."""
  signal.signal(number, signal.SIG_DFL)  # these tests may run under nohup, with which SIGHUP stays ignored
  script = (
    'trap "echo >> stopped; sleep 0.2; exit 75" TERM INT; touch $ID; for i in $(seq 100); do sleep 0.1; done; exit 1'
  )

  def stop() -> None:
    while len([path for path in tmp_path.iterdir() if path.name != "stopped"]) < 2:
      time.sleep(0.01)
    os.kill(os.getpid(), number)

  thread = threading.Thread(target=stop)
  thread.start()
  code, shell, _ = run_pool(script, six, tmp_path)
  thread.join()
  assert (code, len(shell.started)) == (75, 2)
  assert len((tmp_path / "stopped").read_text().splitlines()) == 2


def test_cores_and_gpus_are_divided_among_slots(monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
  slots = resources.make(3, [])
  assert [slot.cores for slot in slots] == [(0, 1), (2, 3, 4), (5, 6, 7)]
  with_gpus = resources.make(0, ["0", "1", "2", "3"])
  assert [(slot.cores, slot.gpus) for slot in with_gpus][1] == ((2, 3), ("1",))
  assert with_gpus[1].environment("w")["CUDA_VISIBLE_DEVICES"] == "1"
  assert [slot.gpus for slot in resources.make(2, ["0", "1", "2", "3"])] == [("0", "1"), ("2", "3")]
  with pytest.raises(ConfigError, match="--jobs 5: must be between 1 and 4, the number of GPUs"):
    resources.make(5, ["0", "1", "2", "3"])
  with pytest.raises(ConfigError, match="--jobs 9: must be between 1 and 8, the number of cores"):
    resources.make(9, [])


def test_slots_have_separate_caches_of_compiled_programs(monkeypatch):
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/c")
  caches = {Slot(i, (i,), ()).environment("w")["JAX_COMPILATION_CACHE_DIR"] for i in range(2)}
  assert caches == {"/c/slot0", "/c/slot1"}


def test_visible_gpus_are_those_of_the_environment(monkeypatch):
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5f")
  assert resources.gpus() == ["2", "GPU-5f"]
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
  assert resources.gpus() == []


def test_a_dry_run_prints_the_commands(monkeypatch, tmp_path, capsys):
  with RunWriter(tmp_path / "quickstart" / "plain-d8-s0") as writer:
    writer.update(id="plain-d8-s0", status="done")
  arguments = ["--config=quickstart", "--only=kind=plain", "--config.train.steps=7", "--gpus=none", "--dry_run"]
  assert run_command(monkeypatch, "launch.local", [*arguments, f"--workdir={tmp_path}"]) == 0
  comment, *lines = capsys.readouterr().out.splitlines()
  assert comment.startswith("# 2 runs in 1 slots")
  cores = ",".join(map(str, sorted(os.sched_getaffinity(0))))
  for index, line in zip((1, 2), lines, strict=True):
    assert line.endswith(
      f"taskset --cpu-list {cores} {sys.executable} -m resjax.main --config=quickstart --config.train.steps=7 "
      f"--only=kind=plain --workdir={tmp_path} --index={index}"
    )
  assert sorted(path.name for path in tmp_path.iterdir()) == ["quickstart"]


def test_the_status_is_read_from_the_run_directories(monkeypatch, tmp_path, capsys):
  with RunWriter(tmp_path / "quickstart" / "plain-d8-s0") as writer:
    writer.update(id="plain-d8-s0", status="failed", reason="the loss is not finite", result={"test_error": 0.5})
    writer.append("metrics", [{"step": 40, "split": "train"}])
  assert (
    run_command(
      monkeypatch, "launch.local", ["--config=quickstart", "--only=depth=8", f"--workdir={tmp_path}", "--status"]
    )
    == 0
  )
  _, not_started, failed = capsys.readouterr().out.splitlines()
  assert not_started.split()[:5] == ["0", "residual-A-d8-s0", "not", "started", "0/300"]
  assert failed.split()[:5] == ["1", "plain-d8-s0", "failed", "40/300", "50.00"]
  assert failed.endswith("the loss is not finite")


def test_an_index_selects_one_run(monkeypatch, capsys, tmp_path):
  arguments = ["--config=quickstart", "--index=3", "--gpus=none", "--dry_run", f"--workdir={tmp_path}"]
  assert run_command(monkeypatch, "launch.local", arguments) == 0
  assert [line.rpartition("--index=")[2] for line in capsys.readouterr().out.splitlines()[1:]] == ["3"]


def test_labels_of_different_texts_differ():
  assert jobs.label("cifar_depth_sweep", 20) == "cifar-depth-sweep"
  others = (
    "cifar-depth-sweep",
    "cifar_depth_sweep_",
    "Cifar_depth_sweep",
    "cifar__depth_sweep",
    "cifar_depth_sweeps_ba",
  )
  labels = [jobs.label(text, 20) for text in others]
  assert len({*labels}) == len(others)
  for label in labels:
    assert re.fullmatch("cifar-depth-[0-9a-f]{8}", label), label


def test_a_missing_extra_is_named(monkeypatch, tmp_path):
  monkeypatch.setitem(sys.modules, "submitit", None)
  with pytest.raises(ConfigError, match="needs submitit: install the extra slurm"):
    run_command(monkeypatch, "launch.slurm", ["--config=quickstart", f"--workdir={tmp_path}"], wrapper=jobs.with_extras)


def test_errors_of_main_are_printed_with_its_exit_code(tmp_path):
  line = [sys.executable, "-m", "launch.local", "--config=quickstart", "--only=depth=8", "--gpus=none"]
  wrong = [*line, f"--workdir={tmp_path}", "--config.responses.images=1024"]
  done = subprocess.run(wrong, capture_output=True, text=True, check=False)
  assert done.returncode == 2
  assert (
    done.stderr.splitlines()[-1]
    == "python -m resjax.main: responses.images = 1024: must be at most 360, the number of test images"
  )
