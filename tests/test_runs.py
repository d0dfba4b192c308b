"""Whole runs through the command line on the digits: finished, repeated, stopped, killed, failed.

RESJAX_KILLS is how many times the killed run is killed (default 3; the first time in the middle of a save).
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
from tests.short_run import finish, folder, start, what_counts

KILLS = int(os.environ.get("RESJAX_KILLS", "3"))


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
  """Two devices, and one store of compiled programs, so that a restart takes seconds."""
  compiled = tmp_path_factory.mktemp("compiled")
  return {**os.environ, "JAX_NUM_CPU_DEVICES": "2", "JAX_COMPILATION_CACHE_DIR": str(compiled)}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, environment):
  workdir = tmp_path_factory.mktemp("undisturbed")
  code, out, err = finish(start(workdir, environment))
  assert code == 0, err
  return workdir, out


def test_a_run_leaves_the_records_of_the_contract(undisturbed):
  workdir, out = undisturbed
  run = records.read_run(folder(workdir))
  assert folder(workdir) == workdir / "quickstart" / "residual-A-d8-s0"
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
  assert dropped == [(40, "to 0.01: no new best error in 1"), (60, "to 0.001: no new best error in 1")]
  assert out.splitlines()[-1] == str(workdir / "quickstart" / "report.html")
  assert (workdir / "quickstart" / "report.html").is_file()


def test_the_net_learns(undisturbed):
  """Chance is 90 %; after 60 steps the nets here are near 10 %."""
  assert what_counts(undisturbed[0])["result"]["test_error"] < 0.3


def test_a_profiled_run_has_a_trace_and_the_same_results(environment, tmp_path, undisturbed):
  """Of its second and third interval of five steps, as JAX reads it back."""
  code, _, err = finish(start(tmp_path, environment, execution__profile="2"))
  assert code == 0, err
  ours = what_counts(tmp_path)
  assert ours["events"].pop(0) == {"step": 15, "name": "profiled", "detail": "steps 6 to 15, in profile/"}
  assert ours == what_counts(undisturbed[0])
  (trace,) = folder(tmp_path).glob("profile/plugins/profile/*/*.xplane.pb")
  planes = jax.profiler.ProfileData.from_file(str(trace)).planes
  names = [event.name for plane in planes for line in plane.lines for event in line.events]
  assert names.count("PjitFunction(train_steps)") >= 2  # JAX has one or two events for a dispatch


def test_the_same_command_again_changes_nothing(undisturbed, environment):
  workdir, _ = undisturbed
  before = (folder(workdir) / "run.json").read_bytes()
  code, _, err = finish(start(workdir, environment))
  assert code == 0, err
  assert (folder(workdir) / "run.json").read_bytes() == before


def killed_after(workdir, environment, name, seconds):
  """Kills so long after a file of the run directory has changed; returns whether the run was still going on."""

  def changed():
    return [path.stat().st_mtime_ns for path in workdir.glob(f"*/*/{name}") if path.stat().st_size]

  process, before = start(workdir, environment), changed()
  while process.poll() is None:
    if changed() not in ([], before):
      time.sleep(seconds)
      process.send_signal(signal.SIGKILL)
      break
  return finish(process)[0] == -signal.SIGKILL


def killed_in_a_save(workdir, environment):
  """Kills while a checkpoint is being written: its folder still has Orbax's temporary name."""
  process = start(workdir, environment)
  while process.poll() is None:
    if list(workdir.glob("*/*/checkpoints/*.orbax-checkpoint-tmp*")):
      process.send_signal(signal.SIGKILL)
      break
  return finish(process)[0] == -signal.SIGKILL


def test_a_run_killed_at_random_moments_is_the_same_to_the_bit(undisturbed, environment, tmp_path):
  draw, kills, reached = random.Random(0), 1, []
  assert killed_in_a_save(tmp_path, environment)
  while kills < KILLS:
    # At start-up, and while it trains, evaluates and saves.
    name, longest = draw.choice([("run.json", 4.0), ("metrics.jsonl", 1.0), ("metrics.jsonl", 1.0)])
    kills += killed_after(tmp_path, environment, name, draw.uniform(0, longest))
    reached.append(max((row["step"] for row in records.read_run(folder(tmp_path)).metrics), default=0))
    if records.read_run(folder(tmp_path)).run["status"] == records.DONE:
      shutil.rmtree(folder(tmp_path))  # it was quicker: from the beginning again
  print("last step in the log after each start:", reached)
  code, _, err = finish(start(tmp_path, environment))
  assert code == 0, err
  assert what_counts(tmp_path) == what_counts(undisturbed[0])


def test_killed_after_the_last_save(undisturbed, environment, tmp_path):
  """All is there but the result: the run is finished from its checkpoint and its log, nothing is logged twice."""
  shutil.copytree(undisturbed[0], tmp_path, dirs_exist_ok=True)
  with records.RunWriter(folder(tmp_path)) as writer:
    writer.update(status=records.RUNNING, result=None, params_digest=None)
  code, _, err = finish(start(tmp_path, environment))
  assert code == 0, err
  assert what_counts(tmp_path) == what_counts(undisturbed[0])


def test_a_full_disk_is_said_in_one_line_and_nothing_is_lost(undisturbed, environment, tmp_path):
  """700 KiB are full in the second save; then there is room again."""
  with contextlib.ExitStack() as stack:
    try:
      stack.enter_context(small_disk(tmp_path / "disk", "700k"))
    except (OSError, subprocess.CalledProcessError) as error:
      pytest.skip(f"no right to mount a small disk: {error}")
    code, _, err = finish(start(tmp_path / "disk", environment))
    assert code == 2
    assert "Traceback" not in err
    assert re.search(r"^python -m resjax.main: .*No space left on device", err.splitlines()[-1])
    subprocess.run(["mount", "-o", "remount,size=100m", str(tmp_path / "disk")], check=True)
    code, _, err = finish(start(tmp_path / "disk", environment))
    assert code == 0, err
    assert what_counts(tmp_path / "disk") == what_counts(undisturbed[0])


def test_a_run_in_a_bucket_is_stopped_and_goes_on_to_the_bit(undisturbed, environment, monkeypatch):
  """Records, checkpoints and the page: nothing of the run is on this disk, and another machine could go on."""
  pytest.importorskip("gcsfs", reason="the extra cloud is not installed")
  from tests.buckets import emulated

  with emulated() as found:
    for name, value in found.items():
      monkeypatch.setenv(name, value)
    process = start("gs://bucket/runs", environment | found)
    run = files.as_path("gs://bucket/runs/quickstart/residual-A-d8-s0")
    while not (run / "metrics-00001.jsonl").exists():
      assert process.poll() is None, finish(process)
      time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 75, err
    assert records.read_run(run).run["status"] == "preempted"
    code, out, err = finish(start("gs://bucket/runs", environment | found))
    assert code == 0, err
    assert out.splitlines()[-1] == "gs://bucket/runs/quickstart/report.html"
    assert "restored" in [event["name"] for event in records.read_run(run).run["events"]]
    assert what_counts("gs://bucket/runs") == what_counts(undisturbed[0])
    assert run_files.read(run).step == 60  # the parameters are compared with the digest of the record
    deepened = ["identity", "--workdir", "gs://bucket/runs/quickstart", "--depth=14", "--steps=2", "--images=12"]
    command = [sys.executable, "-m", "resjax.study", *deepened]
    study = subprocess.run(command, env=environment | found, capture_output=True, text=True, timeout=300, check=False)
    assert study.returncode == 0, study.stderr
    ids = "residual-A-d14-from8-s0", "residual-A-d14-s0"
    made = [str(path) for path in records.find_runs("gs://bucket/runs/quickstart-identity")]
    assert made == [f"gs://bucket/runs/quickstart-identity/{id_}" for id_ in ids]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leads_to_a_save_and_exit_75(undisturbed, environment, tmp_path, number):
  process = start(tmp_path, environment)
  while not (records.find_runs(tmp_path) and records.read_run(folder(tmp_path)).metrics):
    assert process.poll() is None, finish(process)
    time.sleep(0.02)
  process.send_signal(number)
  code, _, err = finish(process)
  stopped = records.read_run(folder(tmp_path)).run
  assert code == 75, err
  assert stopped["status"] == "preempted"
  assert 0 < stopped["step"] < 60
  code, _, err = finish(start(tmp_path, environment))
  assert code == 0, err
  assert [e["step"] for e in records.read_run(folder(tmp_path)).run["events"] if e["name"] == "restored"] == [
    stopped["step"]
  ]
  assert what_counts(tmp_path) == what_counts(undisturbed[0])


def test_continued_unrolled(environment, tmp_path, undisturbed):
  """A checkpoint does not know how the blocks were executed; results agree to rounding."""
  process = start(tmp_path, environment, execution__unroll="1")
  while not list(tmp_path.glob("*/*/checkpoints/10")):
    assert process.poll() is None, finish(process)
    time.sleep(0.02)
  process.send_signal(signal.SIGKILL)
  finish(process)
  written = folder(tmp_path) / "run.json"
  written.write_text(json.dumps(json.loads(written.read_text()) | {"execution": None}))  # as earlier versions did
  code, _, err = finish(start(tmp_path, environment, execution__unroll="1000"))
  assert code == 0, err
  (event,) = [event for event in records.read_run(folder(tmp_path)).run["events"] if "convolution" in event["name"]]
  assert event["step"] >= 10 and event["detail"].startswith("not recorded before, ")
  ours, theirs = (what_counts(each)["metrics"] for each in (tmp_path, undisturbed[0]))
  early = [row for row in theirs if row["step"] <= 15 and row["split"] == "train"]
  for row in early:
    (same,) = [other for other in ours if other["step"] == row["step"] and other["split"] == "train"]
    assert same["loss"] == pytest.approx(row["loss"], rel=1e-3)


def test_a_loss_that_is_not_finite_fails_that_run_only(environment, tmp_path):
  changes = {"train__learning_rate": "1e38", "train__steps": "20", "responses__steps": "()", "gradients__steps": "()"}
  code, out, err = finish(start(tmp_path, environment, **changes))
  run = records.read_run(folder(tmp_path)).run
  assert code == 1
  assert run["status"] == "failed"
  assert run["reason"].startswith("the loss is not finite at step ")
  assert run["reason"] in out
  assert run["result"]["test_error"] is None
  assert "Traceback" not in err
  before = {path: path.read_bytes() for path in folder(tmp_path).glob("*.json*")}
  code, out, err = finish(start(tmp_path, environment, **changes))
  assert code == 1 and run["reason"] in out
  again = f"{run['id']} is not trained again: {run['reason']}; to try it again, delete {folder(tmp_path)}"
  assert again in err.splitlines()
  assert before == {path: path.read_bytes() for path in folder(tmp_path).glob("*.json*")}
  shutil.rmtree(folder(tmp_path))
  code, _, err = finish(start(tmp_path, environment, **(changes | {"train__learning_rate": "0.1"})))
  assert code == 0, err


def test_a_warm_up_that_ends_and_one_that_never_does(environment, tmp_path):
  changes = {"train__warmup": "on", "train__warmup_window": "10", "responses__steps": "()"}
  code, _, err = finish(start(tmp_path / "ends", environment, **changes))
  assert code == 0, err
  run = records.read_run(folder(tmp_path / "ends"))
  (event,) = [event for event in run.run["events"] if event["name"] == "warm-up ended"]
  assert 10 <= event["step"] < 60
  rates = {row["step"]: row["learning_rate"] for row in run.metrics if row["split"] == "train"}
  assert rates[5] == pytest.approx(0.01)
  assert max(rates.values()) == pytest.approx(0.1)
  code, _, err = finish(start(tmp_path / "never", environment, **changes, train__warmup_error="0.0"))
  assert code == 0, err
  names = [event["name"] for event in records.read_run(folder(tmp_path / "never")).run["events"]]
  assert names == ["warm-up never ended"]


def test_averaged_statistics_are_used_at_the_end(environment, tmp_path, undisturbed):
  """The last step's error is taken with other statistics; the weights are the same to the bit."""
  code, _, err = finish(start(tmp_path, environment, evaluation__statistics="training_set"))
  assert code == 0, err
  ours, theirs = what_counts(tmp_path), what_counts(undisturbed[0])
  assert ours["digest"] == theirs["digest"]
  assert ours["metrics"][:-2] == theirs["metrics"][:-2]
  assert ours["metrics"][-1]["loss"] != theirs["metrics"][-1]["loss"]
  assert json.dumps(ours["responses"][:14]) == json.dumps(theirs["responses"][:14])


TOGETHER = {
  "bottleneck": {
    "model__depth": "11",
    "model__block": "bottleneck",
    "model__shortcut": "C",
    "model__preactivation": "true",
    "data__normalize": "channel",
    "execution__remat": "block",
    "execution__unroll": "2",
    "execution__devices": "1",
  },
  "pitfalls": {
    "model__option_a_stride": "average",
    "model__option_a_zeros": "both",
    "model__zero_init_scale": "true",
    "model__precision": "bfloat16",
    "model__padding": "same",
    "model__norm_images": "32",
    "train__nesterov": "true",
    "train__decay_norm_and_bias": "false",
    "responses__source": "train",
    "responses__mode": "batch",
    "responses__pooling": "channels",
    "responses__first_conv": "false",
    "train__schedule": "cosine",
    "evaluation__every": "0",
    "checkpoint__every": "0",
  },
}


@pytest.mark.parametrize("name", TOGETHER)
def test_options_work_together_from_the_command_line(environment, tmp_path, name):
  changes = {"responses__steps": "()"} | TOGETHER[name]
  depth = changes.get("model__depth", "8")
  process = start(tmp_path, environment, **changes, only=f"depth={depth} kind=residual")
  code, _, err = finish(process)
  assert code == 0, err
  run = records.read_run(folder(tmp_path))
  assert run.run["result"]["train_error"] < 0.8  # chance is 0.9
  assert run.responses[0]["mode"] == ("batch" if name == "pitfalls" else "running")
  deviations = {row["name"] for row in run.run["deviations"]}
  changed = {key.replace("__", ".") for key in TOGETHER[name] if key.startswith("model")}
  assert changed - {"model.depth"} <= deviations | {"model.norm_images"}
