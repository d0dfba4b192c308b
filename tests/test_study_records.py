"""Records of studies: written below a run directory, independently of the logs of the run."""

import pytest

from resjax import records, study_records
from resjax.records import RecordsError


def test_records_are_read_with_all_keys(tmp_path):
  with study_records.writer(tmp_path) as writer:
    writer.append("lesions", [{"step": 5, "kind": study_records.NONE, "error": 0.1}])
    writer.append("lesions", [{"step": 5, "kind": study_records.DELETE, "stage": 1, "block": 2, "error": 0.5}])
  with (tmp_path / "studies" / "lesions.jsonl").open("a") as file:
    file.write('{"step": 5, "ki')
  logs, torn = study_records.read(tmp_path)
  assert torn == 1
  assert [row["kind"] for row in logs["lesions"]] == ["none", "delete"]
  assert all(set(row) == set(study_records.LOG_KEYS["lesions"]) for row in logs["lesions"])
  assert logs["landscape"] == []


def test_a_run_without_studies_has_empty_records(tmp_path):
  assert study_records.read(tmp_path) == ({log: [] for log in study_records.LOG_KEYS}, 0)
  assert list(tmp_path.iterdir()) == []


def test_a_study_may_write_while_the_run_writes_but_two_studies_may_not(tmp_path):
  with records.RunWriter(tmp_path) as run, study_records.writer(tmp_path) as studies:
    run.update(id="a")
    with pytest.raises(RecordsError, match="'lesions' is none of metrics"):
      run.append("lesions", [])
    with pytest.raises(RecordsError, match="'metrics' is none of responses"):
      studies.append("metrics", [])
    with pytest.raises(RecordsError, match="another process"):
      study_records.writer(tmp_path)
  assert records.find_runs(tmp_path) == [tmp_path]
