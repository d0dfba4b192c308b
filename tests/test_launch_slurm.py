"""Batch scripts for Slurm; tests/slurm submits them to a real one."""

import subprocess

import pytest

from resjax.records import RunWriter
from resjax.settings import ConfigError
from tests.in_process_commands import import_command, run_command

pytest.importorskip("submitit", reason="the extra slurm is not installed")


@pytest.fixture
def requeue() -> str:
  """Returns the lines at the end of a batch script that requeue a stopped job."""
  with import_command("launch.slurm") as slurm:
    return slurm.REQUEUE


def dry_run(monkeypatch, capsys, *arguments: str) -> str:
  """Returns what the launcher prints with --dry_run."""
  assert run_command(monkeypatch, "launch.slurm", ["--config=quickstart", *arguments, "--dry_run"]) == 0
  return capsys.readouterr().out


def test_the_array_has_the_unfinished_runs_and_the_given_options(monkeypatch, capsys, tmp_path):
  with RunWriter(tmp_path / "quickstart" / "plain-d8-s0") as writer:
    writer.update(id="plain-d8-s0", status="done")
  text = dry_run(
    *(monkeypatch, capsys, f"--workdir={tmp_path}", "--parallel=3", "--time=90", "--grace=60", "--gpus=2"),
    *("--memory=1.5", "--partition=long", "--sbatch=constraint=a100"),
  )
  for option in (
    *("array=0-4%3", "time=90", "signal=TERM@60", "requeue", "gpus-per-task=2", "mem=1536MB", "partition=long"),
    "constraint=a100",
  ):
    assert f"#SBATCH --{option}\n" in text
  commands = [line for line in text.splitlines() if line.startswith("# ") and "--index=" in line]
  indices = [line.rpartition("--index=")[2] for line in commands]
  assert indices == ["0", "2", "3", "4", "5"]
  assert not (tmp_path / ".launch").exists()


def test_the_script_is_valid_and_ends_with_the_requeue(monkeypatch, capsys, tmp_path, requeue):
  text = dry_run(monkeypatch, capsys, f"--workdir={tmp_path}")
  assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
  before, after = text.split("\nsrun ", 1)
  assert "SUBMITIT_EXECUTOR=slurm" in before
  assert [line for line in after.splitlines()[1:] if line and not line.startswith("#")] == requeue.splitlines()


@pytest.mark.parametrize(
  ("code", "state", "expected"),
  [(75, "RUNNING", "requeue 7_3\n"), (75, "CANCELLED", ""), (1, "RUNNING", ""), (0, "RUNNING", "")],
)
def test_only_a_job_that_was_stopped_and_not_cancelled_is_requeued(tmp_path, requeue, code, state, expected):
  for name, does in (("squeue", f"echo {state}"), ("scontrol", 'echo "$@"')):
    (tmp_path / name).write_text(f"#!/bin/bash\n{does}\n")
    (tmp_path / name).chmod(0o755)
  environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7"}
  line = ["bash", "-c", f"(exit {code})\n{requeue}"]
  done = subprocess.run(
    line, env=environment | {"SLURM_ARRAY_TASK_ID": "3"}, capture_output=True, text=True, check=False
  )
  assert (done.returncode, done.stdout) == (code, expected)
  if expected:
    alone = subprocess.run(
      line, env={**environment, "SLURM_ARRAY_JOB_ID": ""}, capture_output=True, text=True, check=False
    )
    assert alone.stdout == "requeue 9\n"


def test_an_option_without_a_value_is_an_error(monkeypatch, tmp_path):
  with pytest.raises(ConfigError, match="--sbatch exclusive: must be KEY=VALUE"):
    run_command(
      monkeypatch, "launch.slurm", ["--config=quickstart", f"--workdir={tmp_path}", "--sbatch=exclusive", "--dry_run"]
    )


def test_without_slurm_there_is_an_error(monkeypatch, tmp_path):
  monkeypatch.setenv("PATH", str(tmp_path))
  with pytest.raises(ConfigError, match="Slurm does not accept the jobs: "):
    run_command(monkeypatch, "launch.slurm", ["--config=quickstart", f"--workdir={tmp_path}"])
