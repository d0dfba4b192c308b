"""Records after kills, with two writers, and after random sequences of actions."""

import math
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from resjax import records
from resjax.records import RecordsError, RunWriter, read_run

REPOSITORY = Path(__file__).parents[1]


def run_until_killed(code: str, directory: Path) -> None:
  """Runs code that kills its process by SIGKILL.

  Args:
    code: Python code, in which `w` is a writer and `die` sends SIGKILL.
    directory: Run directory of the writer.
  """
  setup = (
    "import os, pathlib, signal, sys\n"
    "from resjax.records import RunWriter\n"
    "die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    "w = RunWriter(sys.argv[1])\n"
  )
  ended = subprocess.run([sys.executable, "-c", setup + code, directory], cwd=REPOSITORY, check=False)
  assert ended.returncode == -signal.SIGKILL


def steps(rows: list[dict]) -> list[int]:
  """Returns the steps of lines or events."""
  return [row["step"] for row in rows]


def test_a_kill_before_the_atomic_replacement_keeps_the_old_record(tmp_path):
  with RunWriter(tmp_path) as writer:
    writer.update(id="a", status="running", step=1)
  run_until_killed("pathlib.Path.replace = die\nw.update(status='done')", tmp_path)
  assert (tmp_path / ".run.json.tmp").exists()  # the process was killed between writing and replacing
  assert read_run(tmp_path).run["status"] == "running"
  with RunWriter(tmp_path) as writer:
    writer.update(status="failed")
  assert read_run(tmp_path).run["status"] == "failed"
  assert not (tmp_path / ".run.json.tmp").exists()


def test_a_kill_during_an_append_loses_only_the_torn_line(tmp_path):
  with RunWriter(tmp_path) as writer:
    writer.update(id="a")
  tear = "f = open(w.directory / 'metrics.jsonl', 'ab')\nf.write(b'{\"step\": 7')\nf.flush()\ndie()"
  run_until_killed("w.append('metrics', [{'step': 6}])\n" + tear, tmp_path)
  assert (steps(read_run(tmp_path).metrics), read_run(tmp_path).torn) == ([6], 1)


@pytest.mark.parametrize("survivors", [0, 1, 2, 3])
def test_an_interrupted_rewind_is_completed_by_the_next(tmp_path, survivors):
  with RunWriter(tmp_path) as writer:
    writer.event(5, "restored")
    for log in records.LOG_KEYS:
      writer.append(log, [{"step": step} for step in range(6)])
  code = f"""
replace, left = pathlib.Path.replace, iter([True] * {survivors})
pathlib.Path.replace = lambda *paths: replace(*paths) if next(left, False) else die()
w.rewind(2)
"""
  run_until_killed(code, tmp_path)
  assert steps(read_run(tmp_path).run["events"]) == [5]  # the record is rewound last
  with RunWriter(tmp_path) as writer:
    writer.rewind(2)
  run = read_run(tmp_path)
  assert [steps(rows) for rows in (run.metrics, run.responses, run.gradients)] == [[0, 1, 2]] * 3
  assert run.run["events"] == []


def test_a_run_directory_is_locked_until_its_writer_has_exited(tmp_path):
  code = (
    "import sys\nfrom resjax.records import RunWriter\nw = RunWriter(sys.argv[1])\nprint('held', flush=True)\ninput()"
  )
  holder = subprocess.Popen(
    [sys.executable, "-c", code, tmp_path], cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
  )
  with holder:
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    with pytest.raises(RecordsError, match="another process") as caught:
      RunWriter(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
  RunWriter(tmp_path).close()


ROWS = st.lists(
  st.fixed_dictionaries(
    {"step": st.integers(0, 20)},
    optional={"loss": st.floats(), "split": st.text(), "error": st.floats(width=32)},
  ),
  max_size=6,
)
ACTIONS = st.lists(st.one_of(ROWS, st.integers(-1, 20), st.just(b'{"step": 1, "spl')), max_size=12)


@settings(max_examples=40, deadline=None, database=None)
@given(ACTIONS)
def test_any_sequence_of_appends_rewinds_and_torn_lines_is_read_back(actions):
  expected: list[dict] = []
  with tempfile.TemporaryDirectory() as directory:
    for action in actions:
      if isinstance(action, bytes):
        with Path(directory, "metrics.jsonl").open("ab") as file:
          file.write(action)
        continue
      with RunWriter(directory) as writer:
        writer.update(id="a")
        if isinstance(action, int):
          writer.rewind(action)
          expected = [row for row in expected if row["step"] <= action]
        else:
          writer.append("metrics", action)
          expected += action
    with RunWriter(directory) as writer:
      writer.update(id="a")
    read = read_run(directory).metrics
  finite = [
    {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
    for row in expected
  ]
  empty = dict.fromkeys(records.LOG_KEYS["metrics"])
  assert read == [{**empty, **row} for row in finite]
