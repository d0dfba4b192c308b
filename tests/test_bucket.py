"""Records in a bucket, which is fsspec's memory here; `test_runs.py` has a whole run."""

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
from tests.in_process_commands import called

RUN = "gs://bucket/runs/quickstart/plain-d8-s0"


def written(directory, test_error=0.25):
  """Writes the records of a run of four steps."""
  with RunWriter(directory) as writer:
    writer.write_config({"model": {"depth": 8}})
    writer.update(id="plain-d8-s0", kind="plain", depth=8, seed=0, status="done", result={"test_error": test_error})
    for step in (1, 2, 3, 4):
      writer.append("metrics", [{"step": step, "split": "train", "loss": 1 / step}])
    writer.append("responses", [{"step": 4, "layer": layer, "std": 0.5} for layer in (1, 2)])


def _line(**values):
  return (json.dumps({**dict.fromkeys(records.LOG_KEYS["metrics"]), **values}) + "\n").encode()


def test_each_append_is_the_next_numbered_part(in_memory):
  written(RUN)
  names = sorted(path.rpartition("/")[2] for path in in_memory.ls("/bucket/runs/quickstart/plain-d8-s0", detail=False))
  parts = [f"metrics-0000{number}.jsonl" for number in (1, 2, 3, 4)]
  assert names == ["config.json", *parts, "responses-00001.jsonl", "run.json"]
  assert [json.loads(in_memory.cat(f"{RUN}/{part}"))["step"] for part in parts] == [1, 2, 3, 4]


def test_what_is_read_is_what_a_disk_would_hold(in_memory, tmp_path):
  written(RUN)
  written(tmp_path / "runs" / "quickstart" / "plain-d8-s0")
  there, here = (analysis.load(root) for root in ("gs://bucket/runs", tmp_path / "runs"))
  for name in ("runs", "metrics", "responses"):
    frame, other = (getattr(logs, name).drop(columns="directory", errors="ignore") for logs in (there, here))
    assert frame.equals(other), name
  assert [str(path) for path in records.find_runs("gs://bucket/runs")] == [RUN]


def test_a_rewind_drops_lines_and_goes_on_with_the_next_number(in_memory):
  written(RUN)
  with RunWriter(RUN) as writer:
    writer.rewind(2)
    assert [row["step"] for row in records.read_run(RUN).metrics] == [1, 2]
    writer.append("metrics", [{"step": 3}])
  assert [row["step"] for row in records.read_run(RUN).metrics] == [1, 2, 3]
  assert in_memory.cat(f"{RUN}/metrics-00006.jsonl")


def test_who_goes_on_with_a_run_ends_what_another_writes(in_memory):
  """A machine that is given up may still be writing when its successor continues at an earlier step."""
  written(RUN)
  with RunWriter(RUN) as one, RunWriter(RUN) as other:
    one.rewind(4)
    one.append("metrics", [{"step": 5}])
    other.rewind(2)
    with pytest.raises(RecordsError, match="another process is writing this run"):
      one.append("metrics", [{"step": 6}])
    other.append("metrics", [{"step": 3}])
  assert [row["step"] for row in records.read_run(RUN).metrics] == [1, 2, 3]


def test_of_two_that_begin_a_run_one_is_told(in_memory):
  with RunWriter(RUN) as one, RunWriter(RUN) as other:
    one.update(id="a")
    for writer in (one, other):
      writer.rewind(-1)
    one.append("metrics", [{"step": 1, "loss": 2.0}])
    with pytest.raises(RecordsError, match=r"another process is writing this run \(metrics-00001.jsonl is there\)"):
      other.append("metrics", [{"step": 1, "loss": 1.0}])


def test_a_part_whose_answer_was_lost_and_is_sent_again_is_ones_own(in_memory):
  with RunWriter(RUN) as writer:
    writer.update(id="a")
    writer.rewind(-1)
    in_memory.pipe_file(f"{RUN}/metrics-00001.jsonl", _line(step=1))
    writer.append("metrics", [{"step": 1}])
    writer.append("metrics", [{"step": 2}])
  assert [row["step"] for row in records.read_run(RUN).metrics] == [1, 2]


@pytest.mark.parametrize("answer", [401, 403])
def test_a_bucket_that_cannot_be_read_is_one_line(answer, tmp_path):
  """No login, and no right."""

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


def test_of_two_writers_one_is_told_and_nothing_is_lost(in_memory):
  with RunWriter(RUN) as one, RunWriter(RUN) as other:
    one.update(id="a")
    one.append("metrics", [{"step": 1}])
    other.append("metrics", [{"step": 2}])
    with pytest.raises(RecordsError, match=r"another process is writing this run \(metrics-00002.jsonl is there\)"):
      one.append("metrics", [{"step": 3}])
  assert [row["step"] for row in records.read_run(RUN).metrics] == [1, 2]
  with pytest.raises(RecordsError, match="the writer is closed"):
    one.append("metrics", [{"step": 3}])


def test_a_page_is_built_beside_its_runs(in_memory):
  from resjax.analysis import page

  written(RUN)
  assert str(page.build("gs://bucket/runs/quickstart")) == "gs://bucket/runs/quickstart/report.html"
  assert in_memory.cat("gs://bucket/runs/quickstart/tables/runs.csv").startswith(b"label,id,")


def test_what_needs_a_disk_says_so(in_memory, monkeypatch, capsys):
  written(RUN)
  assert report.main(["gs://bucket/runs", "--serve"]) == 2
  assert "gs://bucket/runs: --serve, and --tensorboard without OUT, need a directory" in capsys.readouterr().err
  with pytest.raises(ConfigError, match=r"--workdir 'gs://bucket/runs': must be a directory; only launch\.tpu takes"):
    called(monkeypatch, "launch.local", ["--config=quickstart", "--workdir=gs://bucket/runs", "--dry_run"])
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
def test_other_addresses_are_refused(address):
  scheme = address.partition(":")[0]
  with pytest.raises(OSError, match=rf"{address}: {scheme}:// is not known; a directory, or gs://BUCKET/FOLDER"):
    files.as_path(address)


def test_a_file_that_several_write_at_once_is_one_of_theirs(tmp_path):
  """The page of a sweep, which each of its runs builds when it ends."""
  contents = {str(number).encode() * 100_000 for number in range(4)}
  with ThreadPoolExecutor(4) as pool:
    for _ in range(20):
      list(pool.map(lambda content: files.write_atomically(tmp_path / "page", content, alone=False), contents))
      assert (tmp_path / "page").read_bytes() in contents
  assert [path.name for path in tmp_path.iterdir()] == ["page"]


def test_a_path_on_disk_stays_what_it_is(tmp_path):
  assert files.as_path(str(tmp_path)) == files.as_path(tmp_path) == tmp_path
  files.write_atomically(tmp_path / "a", b"1")
  files.write_atomically(tmp_path / "a", b"2", alone=False)
  assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"2"}
