"""Whole runs on the digits through the command line: records, and bit-identical continuation after interruptions.

RESJAX_KILLS is the number of times that one run is killed (3 by default), the first time while it saves a checkpoint.
"""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import pytest

from resjax import files, records
from resjax.models import onednn
from resjax.train import run_files
from tests.faults.kinds import small_disk
from tests.short_run import finish, reproducible_records, run_directory, start

KILLS = int(os.environ.get("RESJAX_KILLS", "3"))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, environment):
  """Returns the work directory of an uninterrupted run, and what the command printed."""
  workdir = tmp_path_factory.mktemp("uninterrupted")
  code, out, err = finish(start(workdir, environment))
  assert code == 0, err
  return workdir, out


def test_records_are_those_of_the_contract(uninterrupted):
  workdir, out = uninterrupted
  run = records.read_run(run_directory(workdir))
  assert run_directory(workdir) == workdir / "quickstart" / "residual-A-d8-s0"
  assert run.run["status"] == "done"
  assert run.run["step"] == run.run["steps"] == 60
  assert run.run["devices"] == {"platform": "cpu", "kind": "cpu", "count": 2, "processes": 1}
  convolution = "onednn" if onednn.available() else "xla"
  assert run.run["execution"] == {"remat": "elementwise", "convolution": convolution}
  assert run.run["data"]["images"] == 1337
  assert {row["name"] for row in run.run["deviations"]} >= {"data.name", "train.steps", "data.pad", "data.mirror"}
  steps = {split: [row["step"] for row in run.metrics if row["split"] == split] for split in ("train", "val", "test")}
  assert steps == {"train": list(range(5, 61, 5)), "val": [20, 40, 60], "test": [20, 40, 60]}
  assert [row["step"] for row in run.responses] == [0] * 7 + [30] * 7 + [60] * 7
  assert [row["step"] for row in run.gradients] == [0] * 8 + [30] * 8
  last = [row for row in run.metrics if row["split"] == "test"][-1]
  assert run.run["result"]["test_error"] == last["error"]
  assert run.run["result"]["test_images"] == last["images"] == 360
  assert run.run["result"]["best_test_error"] == min(row["error"] for row in run.metrics if row["split"] == "test")
  assert run.run["result"]["training_macs"] == 3 * run.run["macs"] * 60 * 64
  rates = {row["step"]: row["learning_rate"] for row in run.metrics if row["split"] == "train"}
  assert [rates[step] for step in (5, 20, 40, 45, 60)] == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01], rel=1e-5)
  dropped = [(event["step"], event["detail"]) for event in run.run["events"] if event["name"] == "rate dropped"]
  assert dropped == [
    (40, "to 0.01: no new best error in 1 evaluation"),
    (60, "to 0.001: no new best error in 1 evaluation"),
  ]
  assert out.splitlines()[-1] == str(workdir / "quickstart" / "report.html")
  assert (workdir / "quickstart" / "report.html").is_file()


def test_the_network_learns(uninterrupted):
  """The error of guessing is 90 %; after 60 steps networks of this kind are near 10 %."""
  assert reproducible_records(uninterrupted[0])["result"]["test_error"] < 0.3


def test_a_profiled_run_has_a_trace_and_the_same_results(environment, tmp_path, uninterrupted):
  """The trace covers the second and third interval of five steps, and JAX can read it."""
  code, _, err = finish(start(tmp_path, environment, execution__profile="2"))
  assert code == 0, err
  ours = reproducible_records(tmp_path)
  assert ours["events"].pop(0) == {"step": 15, "name": "profiled", "detail": "steps 6 to 15, in profile/"}
  assert ours == reproducible_records(uninterrupted[0])
  (trace,) = run_directory(tmp_path).glob("profile/plugins/profile/*/*.xplane.pb")
  planes = jax.profiler.ProfileData.from_file(str(trace)).planes
  names = [event.name for plane in planes for line in plane.lines for event in line.events]
  assert names.count("PjitFunction(train_steps)") >= 2  # JAX has one or two events for a dispatch


def test_repeating_the_command_changes_nothing(uninterrupted, environment):
  workdir, _ = uninterrupted
  before = (run_directory(workdir) / "run.json").read_bytes()
  code, _, err = finish(start(workdir, environment))
  assert code == 0, err
  assert (run_directory(workdir) / "run.json").read_bytes() == before


def kill_after_change(workdir, environment, name, seconds):
  """Starts the run and kills it some time after one of its files has changed.

  Args:
    workdir: Work directory.
    environment: Environment variables of the command.
    name: Name of the file in the run directory.
    seconds: Time between the change and the kill.

  Returns:
    Whether the command was killed before it exited.
  """

  def modification_times():
    return [path.stat().st_mtime_ns for path in workdir.glob(f"*/*/{name}") if path.stat().st_size]

  process, before = start(workdir, environment), modification_times()
  while process.poll() is None:
    if modification_times() not in ([], before):
      time.sleep(seconds)
      process.send_signal(signal.SIGKILL)
      break
  return finish(process)[0] == -signal.SIGKILL


def kill_during_a_save(workdir, environment):
  """Starts the run and kills it while a checkpoint has Orbax's temporary name; returns whether it was killed."""
  process = start(workdir, environment)
  while process.poll() is None:
    if list(workdir.glob("*/*/checkpoints/*.orbax-checkpoint-tmp*")):
      process.send_signal(signal.SIGKILL)
      break
  return finish(process)[0] == -signal.SIGKILL


def test_a_run_killed_at_random_moments_is_bit_identical(uninterrupted, environment, tmp_path):
  rng, kills, last_steps = random.Random(0), 1, []
  assert kill_during_a_save(tmp_path, environment)
  while kills < KILLS:
    # The kills are during startup, training, evaluation and saving.
    name, longest = rng.choice([("run.json", 4.0), ("metrics.jsonl", 1.0), ("metrics.jsonl", 1.0)])
    kills += kill_after_change(tmp_path, environment, name, rng.uniform(0, longest))
    last_steps.append(max((row["step"] for row in records.read_run(run_directory(tmp_path)).metrics), default=0))
    if records.read_run(run_directory(tmp_path)).run["status"] == records.DONE:
      shutil.rmtree(run_directory(tmp_path))  # the run completed before the kill: start from the beginning
  print("last step in the log after each start:", last_steps)
  code, _, err = finish(start(tmp_path, environment))
  assert code == 0, err
  assert reproducible_records(tmp_path) == reproducible_records(uninterrupted[0])


def test_a_run_killed_after_the_last_save_gets_its_result_from_checkpoint_and_log(uninterrupted, environment, tmp_path):
  shutil.copytree(uninterrupted[0], tmp_path, dirs_exist_ok=True)
  with records.RunWriter(run_directory(tmp_path)) as writer:
    writer.update(status=records.RUNNING, result=None, params_digest=None)
  code, _, err = finish(start(tmp_path, environment))
  assert code == 0, err
  assert reproducible_records(tmp_path) == reproducible_records(uninterrupted[0])


def test_a_full_disk_is_a_one_line_error_and_the_run_can_be_continued(uninterrupted, environment, tmp_path):
  """The disk of 700 KiB is full during the second save and is enlarged afterwards."""
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(small_disk(tmp_path / "disk", "700k"))
    except (OSError, subprocess.CalledProcessError) as error:
      pytest.skip(f"the user may not mount a disk: {error}")
    code, _, err = finish(start(tmp_path / "disk", environment))
    assert code == 2
    assert "Traceback" not in err
    assert re.search(r"^python -m resjax.main: .*No space left on device", err.splitlines()[-1])
    subprocess.run(["mount", "-o", "remount,size=100m", str(tmp_path / "disk")], check=True)
    code, _, err = finish(start(tmp_path / "disk", environment))
    assert code == 0, err
    assert reproducible_records(tmp_path / "disk") == reproducible_records(uninterrupted[0])


def test_a_run_in_a_bucket_is_stopped_and_continued_bit_identically(uninterrupted, environment, monkeypatch):
  """Records, checkpoints and report are in the bucket alone, so another machine could continue the run."""
  pytest.importorskip("gcsfs", reason="the extra cloud is not installed")
  from tests.buckets import emulator

  with emulator() as variables:
    for name, value in variables.items():
      monkeypatch.setenv(name, value)
    process = start("gs://bucket/runs", environment | variables)
    run = files.as_path("gs://bucket/runs/quickstart/residual-A-d8-s0")
    while not (run / "metrics-00001.jsonl").exists():
      assert process.poll() is None, finish(process)
      time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 75, err
    assert records.read_run(run).run["status"] == "preempted"
    code, out, err = finish(start("gs://bucket/runs", environment | variables))
    assert code == 0, err
    assert out.splitlines()[-1] == "gs://bucket/runs/quickstart/report.html"
    assert "restored" in [event["name"] for event in records.read_run(run).run["events"]]
    assert reproducible_records("gs://bucket/runs") == reproducible_records(uninterrupted[0])
    assert run_files.read(run).step == 60  # reading compares the parameters with the digest of the record
    deepen = ["identity", "--workdir", "gs://bucket/runs/quickstart", "--depth=14", "--steps=2", "--images=12"]
    command = [sys.executable, "-m", "resjax.study", *deepen]
    study = subprocess.run(
      command, env=environment | variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert study.returncode == 0, study.stderr
    ids = "residual-A-d14-from8-s0", "residual-A-d14-s0"
    deepened = [str(path) for path in records.find_runs("gs://bucket/runs/quickstart-identity")]
    assert deepened == [f"gs://bucket/runs/quickstart-identity/{id_}" for id_ in ids]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leads_to_a_checkpoint_and_exit_code_75(uninterrupted, environment, tmp_path, number):
  process = start(tmp_path, environment)
  while not (records.find_runs(tmp_path) and records.read_run(run_directory(tmp_path)).metrics):
    assert process.poll() is None, finish(process)
    time.sleep(0.02)
  process.send_signal(number)
  code, _, err = finish(process)
  stopped = records.read_run(run_directory(tmp_path)).run
  assert code == 75, err
  assert stopped["status"] == "preempted"
  assert 0 < stopped["step"] < 60
  code, _, err = finish(start(tmp_path, environment))
  assert code == 0, err
  assert [e["step"] for e in records.read_run(run_directory(tmp_path)).run["events"] if e["name"] == "restored"] == [
    stopped["step"]
  ]
  assert reproducible_records(tmp_path) == reproducible_records(uninterrupted[0])


def test_a_scanned_run_can_be_continued_unrolled(environment, tmp_path, uninterrupted):
  """Checkpoints do not depend on how the blocks are executed; results agree to rounding."""
  process = start(tmp_path, environment, execution__unroll="1")
  while not list(tmp_path.glob("*/*/checkpoints/10")):
    assert process.poll() is None, finish(process)
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  finish(process)
  written = run_directory(tmp_path) / "run.json"
  written.write_text(json.dumps(json.loads(written.read_text()) | {"execution": None}))  # as earlier versions did
  code, _, err = finish(start(tmp_path, environment, execution__unroll="1000"))
  assert code == 0, err
  (event,) = [
    event for event in records.read_run(run_directory(tmp_path)).run["events"] if "convolution" in event["name"]
  ]
  assert event["step"] >= 10 and event["detail"].startswith("not recorded before, ")
  metrics, expected = (reproducible_records(each)["metrics"] for each in (tmp_path, uninterrupted[0]))
  for line in [line for line in expected if line["step"] <= 15 and line["split"] == "train"]:
    (same,) = [other for other in metrics if other["step"] == line["step"] and other["split"] == "train"]
    assert same["loss"] == pytest.approx(line["loss"], rel=1e-3)


def test_averaged_statistics_change_the_last_evaluation_only(environment, tmp_path, uninterrupted):
  """The parameters and all earlier lines are bit-identical."""
  code, _, err = finish(start(tmp_path, environment, evaluation__statistics="training_set"))
  assert code == 0, err
  averaged, running = reproducible_records(tmp_path), reproducible_records(uninterrupted[0])
  assert averaged["digest"] == running["digest"]
  assert averaged["metrics"][:-2] == running["metrics"][:-2]
  assert averaged["metrics"][-1]["loss"] != running["metrics"][-1]["loss"]
  assert json.dumps(averaged["responses"][:14]) == json.dumps(running["responses"][:14])
