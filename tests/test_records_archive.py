"""Archives with the records of all runs of an experiment, and reports from them."""

import io
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from resjax import records, report
from resjax.records import ARCHIVE, RecordsError, RunWriter
from tests.synthetic_runs import write_run, write_studies


@pytest.fixture
def experiment(tmp_path):
  """Returns the directory of an experiment of two runs with checkpoints."""
  root = tmp_path / "runs" / "study"
  for depth in (20, 32):
    directory = write_run(root, depth=depth, every=32_000)
    (directory / "checkpoints" / "7").mkdir(parents=True)
    (directory / "checkpoints" / "7" / "state").write_bytes(b"large")
    (directory / "input.npz").write_bytes(b"large")
  write_studies(root / "residual-A-d20-s0", 20, plain=False)
  return root


def contents(root):
  """Returns the contents of all files below a folder by relative path."""
  return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_archive_contains_only_records(experiment, capsys):
  before = contents(experiment)
  assert report.main([str(experiment), "--archive"]) == 0
  assert capsys.readouterr().out.strip() == str(experiment / ARCHIVE)
  with tarfile.open(experiment / ARCHIVE) as archive:
    names = set(archive.getnames())
  kept = {name for name in before if not {"checkpoints", "input.npz", "lock"} & {*name.split("/")}}
  assert names == kept and "residual-A-d20-s0/studies/lesions.jsonl" in names
  packed = (experiment / ARCHIVE).read_bytes()
  (experiment / "residual-A-d20-s0" / "run.json").touch()
  assert records.pack(experiment).read_bytes() == packed


def test_a_report_from_an_archive_is_that_of_the_run_directories(experiment):
  assert report.main([str(experiment)]) == 0
  expected = contents(experiment / "tables")
  records.pack(experiment)
  for path in experiment.iterdir():
    if path.name != ARCHIVE:
      shutil.rmtree(path) if path.is_dir() else path.unlink()
  assert report.main([str(experiment.parent)]) == 0  # an archive one level below is found
  assert contents(experiment / "tables") == expected


def test_unpacking_does_not_replace_existing_runs(experiment):
  records.pack(experiment)
  run = experiment / "residual-A-d20-s0"
  (run / "config.json").write_text("{}")
  shutil.rmtree(experiment / "residual-A-d32-s0")
  records.unpack(experiment)
  assert (run / "config.json").read_text() == "{}"
  assert (experiment / "residual-A-d32-s0" / "run.json").exists()


def test_unpacking_adds_nothing_to_a_run_that_is_trained_again(experiment):
  records.pack(experiment)
  run = experiment / "residual-A-d20-s0"
  shutil.rmtree(run)
  with RunWriter(run) as writer:
    writer.update(id=run.name, status=records.RUNNING)
  (experiment / "residual-A-d32-s0" / "metrics.jsonl").unlink()
  before = contents(experiment)
  records.unpack(experiment)
  assert contents(experiment) == before


def test_an_interrupted_extraction_is_not_taken_for_a_run(experiment):
  """The process is killed after the extraction to a temporary folder, before the first directory is renamed."""
  records.pack(experiment)
  run = experiment / "residual-A-d32-s0"
  expected = {name: content for name, content in contents(run).items() if name in ("run.json", "metrics.jsonl")}
  shutil.rmtree(run)
  remaining = records.find_runs(experiment)
  code = (
    "import os, pathlib, signal, sys\n"
    "from resjax import records\n"
    "pathlib.Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
    "records.unpack(sys.argv[1])\n"
  )
  ended = subprocess.run([sys.executable, "-c", code, experiment], cwd=Path(__file__).parents[1], check=False)
  assert ended.returncode == -signal.SIGKILL
  assert list(experiment.glob(".unpacking-*/**/run.json"))
  assert records.find_runs(experiment) == remaining == records.find_runs(experiment.parent)
  records.unpack(experiment)
  assert expected.items() <= contents(run).items() and len(expected) == 2


def test_only_the_directory_of_an_experiment_can_be_packed(experiment, capsys):
  for wrong in (experiment.parent, experiment / "residual-A-d20-s0"):
    assert report.main([str(wrong), "--archive"]) == 2
    assert "must be the directory of one experiment, with its runs" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["torn", "elsewhere"])
def test_a_damaged_or_malicious_archive_is_refused(experiment, damage, tmp_path, capsys):
  path = records.pack(experiment)
  if damage == "torn":
    path.write_bytes(path.read_bytes()[:-200])
  else:
    with tarfile.open(path, "w:xz") as archive:
      member = tarfile.TarInfo("../../outside")
      member.size = 1
      archive.addfile(member, io.BytesIO(b"x"))
  shutil.rmtree(experiment / "residual-A-d20-s0")
  assert report.main([str(experiment)]) == 2
  assert f"{path}: cannot be unpacked: " in capsys.readouterr().err
  assert not (tmp_path / "outside").exists()
  with pytest.raises(RecordsError):
    records.unpack(experiment)
