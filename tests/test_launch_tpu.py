"""The launcher for Cloud TPU against a fake API: its requests and records, a second launcher, errors, --delete."""

import os
import re
import signal
import subprocess
import sys

import pytest

pytest.importorskip("google.cloud.tpu_v2", reason="the extra cloud is not installed")

from grpc import StatusCode

from launch import queued_resources, startup
from launch.bucket import Bucket
from launch.jobs import Job
from resjax import records
from resjax.records import RunWriter
from resjax.settings import ConfigError
from resjax.sweep import Run
from tests.extras import requirements
from tests.fake_tpu_api import PARENT, FakeTpuApi, State, fleet, ids, serve
from tests.in_process_commands import run_command

REQUIRED_FLAGS = [
  "--config=quickstart",
  "--project=p",
  "--zone=z",
  "--source=gs://b/code.tar.gz",
  "--workdir=gs://b/runs",
]


def launch(monkeypatch, api: FakeTpuApi, *arguments: str) -> int:
  """Executes the launcher with the fake API and returns its exit code."""
  with serve(api) as client:
    return run_command(monkeypatch, "launch.tpu", [*REQUIRED_FLAGS, *arguments], {"client": lambda: client})


def create(api: FakeTpuApi, *names: str) -> None:
  """Creates queued resources with these names."""
  with serve(api) as client:
    for name in names:
      _, (each,), _ = fleet(client, name.rpartition("-")[0])
      each.attempt = int(name.rpartition("-")[2])
      client.create_queued_resource(request=queued_resources.request(each, PARENT))


def test_a_second_launcher_of_an_experiment_changes_nothing(in_memory_bucket, handlers, monkeypatch, tmp_path):
  """Its slices would have other names than the one that the first launcher has requested after a preemption."""
  api = FakeTpuApi()
  create(api, "resjax-quickstart-1-2")
  in_memory_bucket.pipe_file("/b/runs/.launch/resjax-quickstart-1-0a1b2c3d.ended", b"0\n")
  before = dict(in_memory_bucket.store)
  with pytest.raises(ConfigError) as raised:
    launch(monkeypatch, api, "--only=depth=20", f"--collect={tmp_path}")
  assert str(raised.value) == (
    "slice resjax-quickstart-1-2 exists: another launcher of this experiment is running, or its slices are still being "
    "deleted; wait until that has ended, or delete the slices: python -m launch.tpu --config=quickstart "
    "--only=depth=20 --project=p --zone=z --delete"
  )
  assert (len(api.created), api.deleted, in_memory_bucket.store) == (1, [], before)


@pytest.mark.parametrize("method", ["list", "create"])
def test_a_refusal_of_the_api_is_a_one_line_error(in_memory_bucket, handlers, monkeypatch, tmp_path, method):
  """The slice that was requested before is deleted."""
  api = FakeTpuApi()
  api.errors = {"list": [StatusCode.PERMISSION_DENIED], "create": [None, StatusCode.RESOURCE_EXHAUSTED]}
  api.errors = {method: api.errors[method]}
  with pytest.raises(
    ConfigError, match=r"^Cloud TPU API: (403 list: PERMISSION_DENIED|429 create: RESOURCE_EXHAUSTED)$"
  ):
    launch(monkeypatch, api, "--slices=3", f"--collect={tmp_path}")
  assert ids(api.created) == {"list": [], "create": ["resjax-quickstart-0-0", "resjax-quickstart-1-0"]}[method]
  assert (ids(api.deleted), api.existing) == (ids(api.created)[:1], [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_deletes_the_slices(in_memory_bucket, handlers, monkeypatch, tmp_path, number):
  signal.signal(number, signal.SIG_DFL)  # these tests may run under nohup, with which SIGHUP stays ignored
  api = FakeTpuApi()
  api.script = {"resjax-quickstart-0-0": [State.ACTIVE]}

  def get(request, context):
    os.kill(os.getpid(), number)
    return FakeTpuApi.get(api, request, context)

  api.get = get
  assert launch(monkeypatch, api, f"--collect={tmp_path}", "--poll=0.01") == 75
  assert (ids(api.deleted), api.existing) == (["resjax-quickstart-0-0"], [])


def test_under_nohup_a_closed_terminal_stops_nothing():
  """In a process of its own, because the flags of two launchers cannot be defined in one."""
  program = "import signal as s; from launch import tpu; tpu._Stop(); print(*map(s.getsignal, (s.SIGHUP, s.SIGINT)))"
  ended = subprocess.run(["nohup", sys.executable, "-c", program], capture_output=True, text=True, check=True)
  assert ended.stdout.startswith("1 <bound method _Stop")


def test_slices_of_earlier_launches_are_deleted_by_name(monkeypatch, capsys):
  """A failure does not keep the others, and slices of variants and of other experiments remain."""
  api = FakeTpuApi()
  own = [f"resjax-quickstart-{number}" for number in ("0-0", "1-12", "23-0")]
  others = [f"resjax-quickstart-{rest}" for rest in ("small-0-0", "0-0-0", "0")] + ["my-resjax-quickstart-0-0"]
  create(api, *own, *others)
  assert launch(monkeypatch, api, "--delete", "--dry_run") == 0
  assert capsys.readouterr().out.splitlines() == [f"{name}: would be deleted" for name in own]
  api.errors = {"delete": [None, StatusCode.PERMISSION_DENIED]}
  assert launch(monkeypatch, api, "--delete") == 1
  assert api.existing == [own[1], *others]
  failed = f"{own[1]}: not deleted (403 delete: PERMISSION_DENIED)"
  assert capsys.readouterr().out.splitlines() == [f"{own[0]}: deleted", failed, f"{own[2]}: deleted"]
  assert launch(monkeypatch, api, "--delete") == 0
  assert api.existing == others


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
  assert re.search("gcloud storage cp - gs://b/runs/.launch/resjax-quickstart-0-[0-9a-f]{8}.ended\n", shown)


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


def test_a_launch_collects_the_records_of_its_workers(in_memory_bucket, handlers, monkeypatch, tmp_path, capsys):
  """The test plays the worker: it writes records of completed runs and the marker of the end."""
  api = FakeTpuApi()
  api.script = {"resjax-quickstart-0-0": [State.PROVISIONING, State.ACTIVE]}

  def work(request, context):
    for name in ("residual-A-d8-s0", "plain-d8-s0"):
      with RunWriter(tmp_path / "worker" / name) as writer:
        writer.update(id=name, status="done", result={"test_error": 0.125})
        writer.append("metrics", [{"step": 300, "split": "train"}])
    in_memory_bucket.put(str(tmp_path / "worker"), "/b/runs/quickstart", recursive=True)
    script = api.created[0].queued_resource.tpu.node_spec[0].node.metadata["startup-script"]
    in_memory_bucket.pipe_file(re.search(r"cp - gs:/(/b/runs/\S+)", script)[1], b"0\n")
    return FakeTpuApi.get(api, request, context)

  api.get = work
  here = tmp_path / "here"
  arguments = ["--only=depth=8", f"--collect={here}", "--poll=0.01"]
  # The exit code of an earlier launch, whose slice had the same name, is ignored.
  in_memory_bucket.pipe_file("/b/runs/.launch/resjax-quickstart-0.ended", b"1\n")
  assert launch(monkeypatch, api, *arguments) == 0
  assert len(api.created) == 1
  assert "12.50" in capsys.readouterr().out
  assert launch(monkeypatch, api, *arguments) == 0  # all runs are done, so no slice is requested
  assert len(api.created) == 1
  assert (here / "quickstart" / "plain-d8-s0" / "metrics.jsonl").exists()


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


def test_the_packages_of_all_experiments_are_installed_on_a_worker():
  extras = re.search(r"'\.\[(.*?)\]'", startup.SCRIPT)[1]
  installed = {each.name for each in requirements(extras)}
  assert installed >= {each.name for each in requirements("tpu,imagenet,detection,cloud")}
