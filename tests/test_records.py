"""Records of a run: writing, errors and reading; `test_records_faults.py` kills writers."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from resjax import records
from resjax.records import RecordsError, RunWriter, find_runs, read_run


def steps(rows: list[dict]) -> list[int]:
  """Returns the steps of lines or events."""
  return [row["step"] for row in rows]


def test_updates_are_merged_and_every_key_is_written(tmp_path):
  with RunWriter(tmp_path / "runs" / "a") as writer:
    assert not any(writer.run.values())
    writer.update(id="a", status="running", depth=20)
    writer.update(status="done", step=5)
    held = writer.run
  on_disk = json.loads((tmp_path / "runs" / "a" / "run.json").read_text())
  assert held == on_disk
  assert set(on_disk) == set(records.RUN_KEYS)
  assert (on_disk["schema"], on_disk["id"], on_disk["status"]) == (records.SCHEMA, "a", "done")
  assert (on_disk["step"], on_disk["depth"], on_disk["events"]) == (5, 20, [])


def test_the_record_of_a_writer_is_a_copy(tmp_path):
  with RunWriter(tmp_path) as writer:
    writer.event(1, "restored")
    writer.run["events"].clear()
    assert steps(writer.run["events"]) == [1]


def test_a_new_writer_continues_the_record(tmp_path):
  with RunWriter(tmp_path) as writer:
    writer.update(id="a")
    writer.event(3, "warm-up ended", "error 0.79")
  with RunWriter(tmp_path) as writer:
    writer.event(9, "restored")
  assert read_run(tmp_path).run["id"] == "a"
  assert read_run(tmp_path).run["events"] == [
    {"step": 3, "name": "warm-up ended", "detail": "error 0.79"},
    {"step": 9, "name": "restored", "detail": ""},
  ]


@pytest.mark.parametrize(
  ("act", "says"),
  [
    (lambda w: w.update(stauts="done"), "no key 'stauts'"),
    (lambda w: w.update(status="finished"), "'finished' is none of pending, running"),
    (lambda w: w.append("metric", []), "'metric' is none of metrics"),
    (lambda w: w.append("metrics", [{"step": 1, "acc": 0.5}]), "no key 'acc'"),
    (lambda w: w.append("metrics", [{"loss": 0.5}]), "step must be an integer"),
    (lambda w: w.append("metrics", [{"step": True}]), "step must be an integer"),
    (lambda w: w.update(result=object()), "cannot hold a value of type object"),
  ],
)
def test_values_outside_of_the_schema_are_errors_and_not_written(tmp_path, act, says):
  with RunWriter(tmp_path) as writer, pytest.raises(RecordsError, match=says):
    act(writer)
  assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]


def test_a_closed_writer_cannot_write(tmp_path):
  writer = RunWriter(tmp_path)
  writer.close()
  writer.close()
  for act in (lambda: writer.update(id="a"), lambda: writer.append("metrics", [{"step": 1}])):
    with pytest.raises(RecordsError, match="closed"):
      act()
  assert not (tmp_path / "run.json").exists()


def test_values_that_are_not_finite_are_null(tmp_path):
  with RunWriter(tmp_path) as writer:
    writer.update(result={"train_error": math.nan, "test_error": np.float32(np.inf)})
    writer.append("metrics", [{"step": np.int64(1), "loss": np.float32("nan"), "error": -math.inf}])
    writer.append("metrics", [{"step": 2, "loss": np.float32(0.1), "error": np.array(0.25)}])
    writer.write_config({"rate": math.nan, "widths": (16, 32), "nested": {"a": np.bool_(True)}})
  text = (tmp_path / "metrics.jsonl").read_text()
  assert "NaN" not in text and "Infinity" not in text
  run = read_run(tmp_path)
  assert [row["loss"] for row in run.metrics] == [None, float(np.float32(0.1))]
  assert [row["error"] for row in run.metrics] == [None, 0.25]
  assert run.run["result"]["test_error"] is None
  assert run.config == {"rate": None, "widths": [16, 32], "nested": {"a": True}}


def test_every_line_has_every_key(tmp_path):
  with RunWriter(tmp_path) as writer:
    writer.append("responses", [{"layer": 1, "step": 4}])
  assert list(read_run(write_minimal_run(tmp_path)).responses[0]) == list(records.LOG_KEYS["responses"])


def write_minimal_run(directory: Path) -> Path:
  """Writes a run directory with an id only and returns it."""
  with RunWriter(directory) as writer:
    writer.update(id="a")
  return directory


@pytest.mark.parametrize("torn", [b'{"step": 3, "lo', b'{"step": 3}', b"\xff\xfe"])
def test_a_torn_last_line_is_skipped_and_removed_by_the_next_append(tmp_path, torn):
  with RunWriter(tmp_path) as writer:
    writer.update(id="a")
    writer.append("metrics", [{"step": 1}, {"step": 2}])
  with (tmp_path / "metrics.jsonl").open("ab") as file:
    file.write(torn)
  assert (steps(read_run(tmp_path).metrics), read_run(tmp_path).torn) == ([1, 2], 1)
  with RunWriter(tmp_path) as writer:
    writer.append("metrics", [{"step": 3}])
  assert (steps(read_run(tmp_path).metrics), read_run(tmp_path).torn) == ([1, 2, 3], 0)


def test_a_log_of_one_torn_line_is_emptied_by_the_next_append(tmp_path):
  (tmp_path / "metrics.jsonl").write_bytes(b'{"step"')
  with RunWriter(tmp_path) as writer:
    writer.append("metrics", [{"step": 1}])
    writer.update(id="a")
  assert (steps(read_run(tmp_path).metrics), read_run(tmp_path).torn) == ([1], 0)


def test_lines_that_cannot_be_parsed_are_counted(tmp_path):
  write_minimal_run(tmp_path)
  lines = ["[1]", '{"loss": 1}', "", '{"step": 1, "loss": NaN}', '{"step": "2"}', '{"step": 3, "later": 1}']
  (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
  run = read_run(tmp_path)
  assert (steps(run.metrics), run.torn) == ([1, 3], 4)
  assert run.metrics[0]["loss"] is None
  assert run.metrics[1]["later"] == 1  # a key of a newer version is kept


def test_rewind_removes_later_lines_and_events(tmp_path):
  with RunWriter(tmp_path) as writer:
    writer.event(2, "warm-up ended")
    writer.event(4, "restored")
    for log in records.LOG_KEYS:
      writer.append(log, [{"step": step} for step in (1, 2, 2, 3, 4)])
    writer.rewind(2)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    writer.rewind(2)
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run = read_run(tmp_path)
    assert [steps(rows) for rows in (run.metrics, run.responses, run.gradients)] == [[1, 2, 2]] * 3
    assert steps(run.run["events"]) == [2]
    writer.rewind(-1)
  run = read_run(tmp_path)
  assert (run.metrics, run.responses, run.gradients, run.run["events"]) == ([], [], [], [])


def test_rewind_of_an_empty_directory_writes_no_record(tmp_path):
  with RunWriter(tmp_path) as writer:
    writer.rewind(-1)
  assert not (tmp_path / "run.json").exists()


def test_numbered_parts_are_joined_in_order_and_rewound(tmp_path):
  write_minimal_run(tmp_path)
  for part, step in (("metrics", 1), ("metrics-00001", 2), ("metrics-00002", 3), ("metrics-100000", 5)):
    (tmp_path / f"{part}.jsonl").write_text(f'{{"step": {step}}}\n')
  (tmp_path / "metrics-99999.jsonl").write_text('{"step": 4}\n{"ste')
  (tmp_path / "metrics-old.jsonl").write_text('{"step": 9}\n')
  assert (steps(read_run(tmp_path).metrics), read_run(tmp_path).torn) == ([1, 2, 3, 4, 5], 1)
  with RunWriter(tmp_path) as writer:
    writer.rewind(2)
  assert (steps(read_run(tmp_path).metrics), read_run(tmp_path).torn) == ([1, 2], 0)


def test_a_writer_that_fails_does_not_lock_the_directory(tmp_path):
  (tmp_path / "run.json").write_text("{")
  for _ in range(2):
    with pytest.raises(RecordsError, match="is not JSON"):
      RunWriter(tmp_path)


def test_a_file_in_place_of_a_directory_is_an_error(tmp_path):
  (tmp_path / "a").write_text("")
  with pytest.raises(RecordsError, match="cannot be a run directory"):
    RunWriter(tmp_path / "a" / "b")


@pytest.mark.parametrize(
  ("content", "says"),
  [
    ('{"schema": 2, "status": "some later form"}', "schema 2; this version reads up to 1"),
    ('{"id": "a"}', "schema None"),
    ("[]", "run.json: does not contain a JSON object"),
    ("", "is not JSON"),
    ('{"schema": 1, "result": 5}', "'result' is 5, must be an object"),
    ('{"schema": 1, "events": 3}', "'events' is 3, must be a list of objects"),
    ('{"schema": 1, "events": [{}, 5]}', r"'events' is \[\{\}, 5\], must be a list of objects"),
    ('{"schema": 1, "id": ["a"]}', r"'id' is \['a'\], must be a string"),
    ('{"schema": 1, "depth": "20"}', "'depth' is '20', must be an integer"),
    ('{"schema": 1, "result": {"test_error": "x"}}', "'result.test_error' is 'x', must be a number"),
  ],
)
def test_an_unreadable_record_is_a_one_line_error(tmp_path, content, says):
  (tmp_path / "run.json").write_text(content)
  assert find_runs(tmp_path) == [tmp_path]
  with pytest.raises(RecordsError, match=says) as caught:
    read_run(tmp_path)
  assert "\n" not in str(caught.value)


def test_missing_keys_of_a_record_are_none(tmp_path):
  (tmp_path / "run.json").write_text('{"schema": 1, "id": "a", "later": 1}')
  run = read_run(tmp_path)
  assert set(records.RUN_KEYS) < set(run.run)
  assert run.run["result"]["best_step"] is None and run.run["data"]["name"] is None
  assert (run.config, run.metrics, run.torn) == ({}, [], 0)


def test_find_runs_takes_a_run_an_experiment_or_its_parent(tmp_path):
  for place in ("sweep/a", "sweep/b", "other/c"):
    write_minimal_run(tmp_path / place)
  write_minimal_run(tmp_path / "sweep" / "a" / "checkpoints")  # a run inside of a run is ignored
  (tmp_path / "empty").mkdir()
  assert find_runs(tmp_path) == [tmp_path / place for place in ("other/c", "sweep/a", "sweep/b")]
  assert find_runs(tmp_path / "sweep") == [tmp_path / "sweep" / "a", tmp_path / "sweep" / "b"]
  assert find_runs(tmp_path / "sweep" / "a") == [tmp_path / "sweep" / "a"]
  assert find_runs(tmp_path / "empty") == []
  with pytest.raises(RecordsError, match="no such directory"):
    find_runs(tmp_path / "nowhere")


def test_times_are_utc_without_fractions_of_seconds():
  assert records.utc_now().endswith("+00:00") and "." not in records.utc_now()


def test_names_that_are_not_utf8_are_escaped_in_records_but_not_in_settings(tmp_path):
  """A file name from the system has a surrogate for each byte that is not UTF-8; a path in config.json stays usable."""
  name = os.fsdecode(b"caf\xe9")
  with RunWriter(tmp_path) as writer:
    writer.write_config({"data": {"path": name}})
    writer.update(data={"path": name, "class_names": ("tea", name)})
    writer.event(0, "image skipped", f"{name}/1.png")
  run = read_run(tmp_path)
  assert run.run["data"]["path"] == "caf\\xe9" and run.run["data"]["class_names"] == ["tea", "caf\\xe9"]
  assert run.run["events"][0]["detail"] == "caf\\xe9/1.png"
  assert run.config["data"]["path"] == name


def test_settings_are_read_under_their_current_names(tmp_path):
  with RunWriter(tmp_path) as writer:
    writer.update(status=records.PENDING)
    writer.write_config({"seed": 3, "execution": {"together": 5, "remat": "none"}})
  assert read_run(tmp_path).config == {"seed": 3, "execution": {"runs_per_program": 5, "remat": "none"}}
