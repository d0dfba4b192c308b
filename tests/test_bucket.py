"""Records in a bucket, which is kept in memory here; `test_runs.py` trains a whole run in a bucket."""

import http.server
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from resjax import analysis, convert, files, records, report
from resjax.records import RecordsError, RunWriter
from resjax.settings import ConfigError
from tests.in_process_commands import run_command

RUN = "gs://bucket/runs/quickstart/plain-d8-s0"


def write_run(directory, test_error=0.25):
  """Writes the records of a run of four steps."""
  with RunWriter(directory) as writer:
    writer.write_config({"model": {"depth": 8}})
    writer.update(id="plain-d8-s0", kind="plain", depth=8, seed=0, status="done", result={"test_error": test_error})
    for step in (1, 2, 3, 4):
      writer.append("metrics", [{"step": step, "split": "train", "loss": 1 / step}])
    writer.append("responses", [{"step": 4, "layer": layer, "std": 0.5} for layer in (1, 2)])


def _line(**values):
  """Returns a line of metrics.jsonl in bytes."""
  return (json.dumps({**dict.fromkeys(records.LOG_KEYS["metrics"]), **values}) + "\n").encode()


def test_each_append_writes_the_next_numbered_part(in_memory_bucket):
  write_run(RUN)
  names = sorted(
    path.rpartition("/")[2] for path in in_memory_bucket.ls("/bucket/runs/quickstart/plain-d8-s0", detail=False)
  )
  parts = [f"metrics-0000{number}.jsonl" for number in (1, 2, 3, 4)]
  assert names == ["config.json", *parts, "responses-00001.jsonl", "run.json"]
  assert [json.loads(in_memory_bucket.cat(f"{RUN}/{part}"))["step"] for part in parts] == [1, 2, 3, 4]


def test_records_in_a_bucket_are_read_like_those_on_disk(in_memory_bucket, tmp_path):
  write_run(RUN)
  write_run(tmp_path / "runs" / "quickstart" / "plain-d8-s0")
  in_bucket, on_disk = (analysis.load(root) for root in ("gs://bucket/runs", tmp_path / "runs"))
  for name in ("runs", "metrics", "responses"):
    frame, other = (getattr(logs, name).drop(columns="directory", errors="ignore") for logs in (in_bucket, on_disk))
    assert frame.equals(other), name
  assert [str(path) for path in records.find_runs("gs://bucket/runs")] == [RUN]


def test_after_a_rewind_the_next_part_has_a_new_number(in_memory_bucket):
  write_run(RUN)
  with RunWriter(RUN) as writer:
    writer.rewind(2)
    assert [row["step"] for row in records.read_run(RUN).metrics] == [1, 2]
    writer.append("metrics", [{"step": 3}])
  assert [row["step"] for row in records.read_run(RUN).metrics] == [1, 2, 3]
  assert in_memory_bucket.cat(f"{RUN}/metrics-00006.jsonl")


def test_a_writer_that_continues_a_run_stops_the_previous_writer(in_memory_bucket):
  """A preempted machine may still be writing when another continues the run at an earlier step."""
  write_run(RUN)
  with RunWriter(RUN) as one, RunWriter(RUN) as other:
    one.rewind(4)
    one.append("metrics", [{"step": 5}])
    other.rewind(2)
    with pytest.raises(RecordsError, match="another process is writing this run"):
      one.append("metrics", [{"step": 6}])
    other.append("metrics", [{"step": 3}])
  assert [row["step"] for row in records.read_run(RUN).metrics] == [1, 2, 3]


def test_the_second_of_two_writers_that_start_a_run_is_refused(in_memory_bucket):
  with RunWriter(RUN) as one, RunWriter(RUN) as other:
    one.update(id="a")
    for writer in (one, other):
      writer.rewind(-1)
    one.append("metrics", [{"step": 1, "loss": 2.0}])
    with pytest.raises(RecordsError, match=r"another process is writing this run \(metrics-00001.jsonl is there\)"):
      other.append("metrics", [{"step": 1, "loss": 1.0}])


def test_a_part_that_was_written_before_a_retry_is_accepted(in_memory_bucket):
  with RunWriter(RUN) as writer:
    writer.update(id="a")
    writer.rewind(-1)
    in_memory_bucket.pipe_file(f"{RUN}/metrics-00001.jsonl", _line(step=1))
    writer.append("metrics", [{"step": 1}])
    writer.append("metrics", [{"step": 2}])
  assert [row["step"] for row in records.read_run(RUN).metrics] == [1, 2]


@pytest.mark.parametrize("answer", [401, 403])
def test_a_bucket_without_permission_to_read_is_a_one_line_error(answer, tmp_path):
  class Refuses(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
      self.send_error(answer)

    def log_message(self, *_):
      pass

  with http.server.ThreadingHTTPServer(("localhost", 0), Refuses) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    given = {"STORAGE_EMULATOR_HOST": f"http://localhost:{server.server_port}", "NO_GCE_CHECK": "true"}
    command = [sys.executable, "-m", "resjax.report", "gs://bucket/runs"]
    ended = subprocess.run(command, env=os.environ | given, capture_output=True, text=True, timeout=300, check=False)
    server.shutdown()
  assert ended.returncode == 2, ended.stderr
  assert len(ended.stderr.splitlines()) == 1 and ended.stderr.startswith("resjax.report: "), ended.stderr


def test_one_of_two_writers_is_refused_and_no_line_is_lost(in_memory_bucket):
  with RunWriter(RUN) as one, RunWriter(RUN) as other:
    one.update(id="a")
    one.append("metrics", [{"step": 1}])
    other.append("metrics", [{"step": 2}])
    with pytest.raises(RecordsError, match=r"another process is writing this run \(metrics-00002.jsonl is there\)"):
      one.append("metrics", [{"step": 3}])
  assert [row["step"] for row in records.read_run(RUN).metrics] == [1, 2]
  with pytest.raises(RecordsError, match="the writer is closed"):
    one.append("metrics", [{"step": 3}])


def test_a_report_is_written_to_the_bucket(in_memory_bucket):
  from resjax.analysis import page

  write_run(RUN)
  assert str(page.build("gs://bucket/runs/quickstart")) == "gs://bucket/runs/quickstart/report.html"
  assert in_memory_bucket.cat("gs://bucket/runs/quickstart/tables/runs.csv").startswith(b"label,id,")


def test_commands_that_need_a_local_directory_refuse_a_bucket(in_memory_bucket, monkeypatch, capsys):
  write_run(RUN)
  assert report.main(["gs://bucket/runs", "--serve"]) == 2
  assert "gs://bucket/runs: --serve, and --tensorboard without OUT, need a directory" in capsys.readouterr().err
  with pytest.raises(ConfigError, match=r"--workdir 'gs://bucket/runs': must be a directory; only launch\.tpu takes"):
    run_command(monkeypatch, "launch.local", ["--config=quickstart", "--workdir=gs://bucket/runs", "--dry_run"])
  net = "gs://bucket/net"
  for main, arguments in (
    (report.main, ["gs://bucket/runs", "--tensorboard", net]),
    (convert.main, ["--from", "akamaster", net, "--out", "here"]),
    (convert.main, ["--from", "akamaster", "net.th", "--out", net]),
    (convert.main, ["--to", "torch", "gs://bucket/runs", "--out", net]),
  ):
    assert main(arguments) == 2
    assert f"{net}: must be on this machine's disk" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["s3://bucket/runs", "memory://runs", "http://runs"])
def test_addresses_of_other_file_systems_are_refused(address):
  scheme = address.partition(":")[0]
  with pytest.raises(
    OSError, match=rf"{address}: unsupported scheme {scheme}://; use a local directory or gs://BUCKET/FOLDER"
  ):
    files.as_path(address)


def test_a_file_that_several_threads_write_has_the_content_of_one(tmp_path):
  """Every run of a sweep rewrites the report when it ends."""
  contents = {str(number).encode() * 100_000 for number in range(4)}
  with ThreadPoolExecutor(4) as pool:
    for _ in range(20):
      list(pool.map(lambda content: files.write_atomically(tmp_path / "page", content, alone=False), contents))
      assert (tmp_path / "page").read_bytes() in contents
  assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_paths_on_disk_are_not_changed(tmp_path):
  assert files.as_path(str(tmp_path)) == files.as_path(tmp_path) == tmp_path
  files.write_atomically(tmp_path / "a", b"1")
  files.write_atomically(tmp_path / "a", b"2", alone=False)
  assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"2"}
