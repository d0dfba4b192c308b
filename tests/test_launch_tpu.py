"""The launcher for Cloud TPU against a fake API: waiting, failure, preemption, deletion, records in a bucket."""

import signal

import pytest

pytest.importorskip("google.cloud.tpu_v2", reason="the extra cloud is not installed")

from google.cloud import tpu_v2

from launch import queued_resources, startup
from launch.bucket import Bucket
from launch.jobs import Job
from resjax import records
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.sweep import Run
from tests.fake_tpu_api import FakeTpuApi, State, serve
from tests.in_process_commands import run_command

PARENT = "projects/p/locations/z"
REQUIRED_FLAGS = [
  "--config=quickstart",
  "--project=p",
  "--zone=z",
  "--source=gs://b/code.tar.gz",
  "--workdir=gs://b/runs",
]


def fleet(client, *names: str) -> tuple[queued_resources.Fleet, list[queued_resources.Slice], list[str]]:
  """Returns a fleet of slices, the slices, and the list to which the fleet logs."""
  resource = tpu_v2.QueuedResource(tpu={"node_spec": [{"parent": PARENT, "node": {"runtime_version": "v"}}]})
  slices, lines = [queued_resources.Slice(name, resource) for name in names], []
  return queued_resources.Fleet(client, PARENT, slices, lines.append), slices, lines


def run(
  api: FakeTpuApi, script: dict[str, list[State]], *names: str, over_after: int = 0, stop_after: int = 10**6
) -> tuple[int, list[str]]:
  """Runs a fleet of slices.

  Args:
    api: Fake API.
    script: States of the queued resources, by name.
    *names: Names of the slices.
    over_after: Number of polls after which the runs of a slice have ended, or 0 for never.
    stop_after: Number of polls after which the launcher is asked to stop.

  Returns:
    Exit code and logged lines.
  """
  api.script, polls, rounds = script, dict.fromkeys(names, 0), []

  def ended(name: str) -> int | None:
    polls[name] += 1
    return 0 if over_after and polls[name] > over_after else None

  with serve(api) as client:
    slices, _, lines = fleet(client, *names)
    code = slices.run(ended, lambda: rounds.append(1), lambda: len(rounds) >= stop_after, 0.001)
  return code, lines


def ids(requests) -> list[str]:
  """Returns the ids of the queued resources of requests."""
  return [getattr(each, "queued_resource_id", "") or each.name.rpartition("/")[2] for each in requests]


def test_a_slice_is_deleted_when_its_runs_have_ended():
  api, waits = FakeTpuApi(), [State.ACCEPTED, State.PROVISIONING, State.PROVISIONING, State.ACTIVE]
  code, lines = run(api, {"s-0": waits}, "s", over_after=5)
  assert code == 0
  assert lines == [
    *("s-0: ACCEPTED", "s-0: PROVISIONING", "s-0: ACTIVE"),
    *("s-0: all runs have ended, exit code 0", "s-0: deleted"),
  ]
  (created,), (deleted,) = api.created, api.deleted
  assert (created.parent, created.queued_resource_id) == (PARENT, "s-0")
  assert created.queued_resource.tpu.node_spec[0].node_id == "s-0"
  assert deleted == tpu_v2.DeleteQueuedResourceRequest(name=f"{PARENT}/queuedResources/s-0", force=True)


def test_a_preempted_slice_is_requested_again():
  api = FakeTpuApi()
  script = {"s-0": [State.ACTIVE, State.SUSPENDING], "s-1": [State.PROVISIONING, State.ACTIVE]}
  code, lines = run(api, script, "s", over_after=5)
  assert code == 0
  assert ids(api.created) == ["s-0", "s-1"]
  assert ids(api.deleted) == ["s-0", "s-1"]
  assert "s-0: SUSPENDING" in lines


def test_a_slice_that_fails_does_not_stop_the_others():
  api = FakeTpuApi()
  code, lines = run(api, {"a-0": [State.FAILED], "b-0": [State.ACTIVE]}, "a", "b", over_after=3)
  assert code == 1
  assert "a-0: no capacity" in lines
  assert "b-0: all runs have ended, exit code 0" in lines
  assert sorted(ids(api.deleted)) == ["a-0", "b-0"]


def test_a_slice_that_was_deleted_outside_of_the_launcher_is_not_requested_again():
  api = FakeTpuApi()
  api.script = {"s-0": [State.ACTIVE]}
  with serve(api) as client:
    slices, (each,), lines = fleet(client, "s")
    slices._create(each)
    queued_resources.delete_all(client, PARENT, "s-")
    slices._poll(each, lambda name: None)
  assert (each.code, lines) == (1, ["s-0: was deleted outside of this launcher"])


def test_a_launcher_that_is_stopped_deletes_its_slices():
  api = FakeTpuApi()
  code, _ = run(api, {"a-0": [State.ACTIVE], "b-0": [State.ACCEPTED]}, "a", "b", stop_after=2)
  assert code == 75
  assert sorted(ids(api.deleted)) == ["a-0", "b-0"]


def test_slices_are_deleted_after_an_exception():
  api = FakeTpuApi()
  api.script = {"s-0": [State.ACTIVE]}

  def broken() -> None:
    raise OSError("the bucket is gone")

  with serve(api) as client, pytest.raises(OSError, match="the bucket is gone"):
    fleet(client, "s")[0].run(lambda name: None, broken, lambda: False, 0.001)
  assert ids(api.deleted) == ["s-0"]


def test_slices_of_earlier_launches_are_deleted_by_name():
  api = FakeTpuApi()
  with serve(api) as client:
    slices, each, _ = fleet(client, "resjax-a-0", "resjax-b-0", "other")
    for one in each:
      slices._create(one)
    assert queued_resources.delete_all(client, PARENT, "resjax-a-") == [f"{PARENT}/queuedResources/resjax-a-0-0"]


def test_a_dry_run_prints_requests_and_scripts(monkeypatch, tmp_path, capsys):
  arguments = [*REQUIRED_FLAGS, "--topology=v6e:4x4", "--spot", "--slices=4", "--dry_run", f"--collect={tmp_path}"]
  arguments.append("--workdir=gs://b//runs/")  # is normalized to gs://b/runs, where the launcher looks for records
  assert run_command(monkeypatch, "launch.tpu", arguments) == 0
  shown = capsys.readouterr().out
  for text in ('"topology": "4x4"', '"type": "V6E"', '"runtimeVersion": "v2-alpha-tpuv6e"', '"spot": {}', '"86400s"'):
    assert text in shown
  assert shown.count('"queuedResourceId"') == 4
  assert "for index in 0 4; do\n" in shown
  assert "-m resjax.main --config=quickstart --workdir=gs://b/runs --index=$index\n" in shown
  assert "gcloud storage cp gs://b/code.tar.gz - | tar xz" in shown
  assert "gcloud storage cp - gs://b/runs/.launch/resjax-quickstart-0.ended\n" in shown


@pytest.mark.parametrize(
  ("changed", "says"),
  [
    (["--project="], "--project is missing"),
    (["--workdir=runs"], "--workdir 'runs': must be gs://BUCKET/..."),
    (["--topology=v5e:3x3", "--dry_run"], "--topology v5e:3x3: slices of v5e are 2x2,"),
    (["--topology=gpu:h100x8", "--dry_run"], "--topology gpu:h100x8: must be a TPU slice"),
    (["--collect=gs://b/here"], "gs://b/here: must be on this machine's disk"),
    (["--collect=absent", "--status"], "--collect 'absent': --status reads this directory on this machine, and"),
  ],
)
def test_invalid_flags_are_errors(monkeypatch, tmp_path, changed, says):
  with pytest.raises((ConfigError, OSError)) as raised:
    run_command(monkeypatch, "launch.tpu", [*REQUIRED_FLAGS, f"--collect={tmp_path}", *changed])
  assert says in str(raised.value)


def test_a_launch_collects_the_records_of_its_workers(in_memory_bucket, monkeypatch, tmp_path, capsys):
  """The test plays the worker: it writes records of completed runs and the marker of the end."""
  api = FakeTpuApi()
  api.script = {"resjax-quickstart-0-0": [State.PROVISIONING, State.ACTIVE]}
  handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

  def work(request, context):
    for name in ("residual-A-d8-s0", "plain-d8-s0"):
      with RunWriter(tmp_path / "worker" / name) as writer:
        writer.update(id=name, status="done", result={"test_error": 0.125})
        writer.append("metrics", [{"step": 300, "split": "train"}])
    in_memory_bucket.put(str(tmp_path / "worker"), "/b/runs/quickstart", recursive=True)
    in_memory_bucket.pipe_file("/b/runs/.launch/resjax-quickstart-0.ended", b"0\n")
    return FakeTpuApi.get(api, request, context)

  api.get = work
  with serve(api) as client:
    here = tmp_path / "here"
    arguments = [*REQUIRED_FLAGS, "--only=depth=8", f"--collect={here}", "--poll=0.01"]
    assert run_command(monkeypatch, "launch.tpu", arguments, {"client": lambda: client}) == 0
    assert len(api.created) == 1
    assert "12.50" in capsys.readouterr().out
    assert (
      run_command(monkeypatch, "launch.tpu", arguments, {"client": lambda: client}) == 0
    )  # all runs are done, so no slice is requested
    assert len(api.created) == 1
  assert (here / "quickstart" / "plain-d8-s0" / "metrics.jsonl").exists()
  for number, handler in zip((signal.SIGTERM, signal.SIGINT), handlers, strict=True):
    signal.signal(number, handler)


def test_only_new_records_are_copied_from_a_bucket(in_memory_bucket, tmp_path):
  """New parts of logs and those that a continued run has rewritten are copied; a completed run is not."""
  run = "quickstart/plain-d8-s0"
  job = Job(Run("plain-d8-s0", "quickstart", "", None), 0, (), "")  # type: ignore[arg-type]
  there, here = Bucket("gs://b/runs"), tmp_path / run
  with RunWriter(f"gs://b/runs/{run}") as writer:
    writer.update(id="plain-d8-s0", status="running")
    for step in (1, 2):
      writer.append("metrics", [{"step": step}])
    there.collect([job], tmp_path)
    first = (here / "metrics-00001.jsonl").stat().st_ino
    writer.rewind(1)
    writer.append("metrics", [{"step": 3}])
    there.collect([job], tmp_path)
    assert [row["step"] for row in records.read_run(here).metrics] == [1, 3]
    assert (here / "metrics-00001.jsonl").stat().st_ino == first
    writer.update(status="done")
    there.collect([job], tmp_path)
    writer.append("metrics", [{"step": 4}])
    there.collect([job], tmp_path)
  assert [row["step"] for row in records.read_run(here).metrics] == [1, 3]


def test_the_script_of_a_worker_is_valid(tmp_path):
  import subprocess

  text = startup.script(["python", "-m", "resjax.main", "--only=depth=8 seed=0"], [0, 1], "gs://b/x", "gs://c/d", "n")
  assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
  assert "'--only=depth=8 seed=0' --index=$index" in text
