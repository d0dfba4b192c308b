"""The results that are shipped: tables, findings and README come out of the runs' records as they are committed."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from resjax import config, records, report
from resjax.analysis import load

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "results"
STUDIES = sorted(
  {run.parent.name for run in records.find_runs(RESULTS)}
  | {archive.parent.name for archive in RESULTS.glob(f"*/{records.ARCHIVE}")}
)
UNFINISHED = {"cifar_depth_sweep": {"residual-A-d56-s0", "plain-d56-s0", "residual-A-d110-s0"}}
DIVERGING = {"learning_rate_depth-digits"}  # rates are swept until training diverges


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory) -> Path:
  """A copy of the records and texts alone, and what `make report` makes of them."""
  root = tmp_path_factory.mktemp("rebuilt") / "results"
  shutil.copytree(RESULTS, root, ignore=shutil.ignore_patterns("tables", "figures", "*.html"))
  shutil.copy(REPOSITORY / "README.md", root.parent)
  assert report.main([str(root), "--readme", str(root.parent / "README.md"), str(root / "README.md")]) == 0
  return root


@pytest.mark.parametrize("study", STUDIES)
def test_tables_are_those_of_the_records(rebuilt, study):
  """Numbers to 1e-6 of them: fits and tests depend on the last bits of the linear algebra at hand."""
  names = sorted(path.name for path in (RESULTS / study / "tables").iterdir())
  assert names and names == sorted(path.name for path in (rebuilt / study / "tables").iterdir())
  for name in names:
    here, there = (pd.read_csv(root / study / "tables" / name) for root in (RESULTS, rebuilt))
    pd.testing.assert_frame_equal(here, there, rtol=1e-6, obj=f"{study}/{name}")


@pytest.mark.parametrize("file", ["README.md", "results/README.md"])
def test_what_is_written_of_them_is_what_they_say(rebuilt, file):
  assert (rebuilt.parent / file).read_text("utf-8") == (REPOSITORY / file).read_text("utf-8")


@pytest.mark.parametrize("study", STUDIES)
def test_runs_are_finished_or_were_stopped_by_the_clock_of_a_lent_gpu(rebuilt, study):
  logs = load(rebuilt / study)
  unfinished = logs.runs[logs.runs["status"] != records.DONE]
  if study in DIVERGING:
    failed = unfinished["status"] == records.FAILED
    assert unfinished.loc[failed, "reason"].str.startswith("the loss is not finite at step").all()
    unfinished = unfinished[~failed]
  assert not logs.problems and set(unfinished["id"]) <= UNFINISHED.get(study, set())
  assert (unfinished["status"] == records.PREEMPTED).all()


@pytest.mark.parametrize("study", STUDIES)
def test_records_are_of_a_commit_and_name_no_machine(rebuilt, study):
  logs = load(rebuilt / study)
  assert not logs.runs["commit"].dropna().str.endswith("+changes").any()  # nets trained elsewhere have none
  for path in (rebuilt / study).rglob("*.json*"):
    assert "/home/" not in (text := path.read_text("utf-8")) and '"/' not in text and "=/" not in text, path


@pytest.mark.parametrize("study", STUDIES)
def test_settings_of_earlier_versions_are_read_and_keep_their_digest(rebuilt, study):
  """A setting that was renamed, such as execution.together, is no part of `config_digest`."""
  runs = [records.read_run(directory) for directory in records.find_runs(rebuilt / study)]
  written = [run for run in runs if run.config]
  assert written
  for run in written:
    digest = config.freeze(run.config).digest
    assert run.run["config_digest"] == digest, run.directory
