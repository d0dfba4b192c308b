"""The sections drawn from studies: each there with its records only, and saying what the records say."""

import datetime
import json
import math
from pathlib import Path

import pytest

from resjax import analysis, study_records
from resjax.analysis import sections, separation
from resjax.analysis.provenance import provenance, training_seconds
from resjax.analysis.sections import blocks, gradients, identity, landscape, layers, lesions, paths
from resjax.analysis.sections.section import Section, join_words
from tests import synthetic_runs


@pytest.fixture(scope="module")
def studied(tmp_path_factory) -> analysis.Logs:
  """A plain and a residual net of 20 layers, with every study."""
  root = tmp_path_factory.mktemp("studied")
  for kind in ("plain", "residual"):
    directory = synthetic_runs.write_run(root, kind, 20, every=32_000)
    synthetic_runs.write_studies(directory, 20, kind == "plain")
  return analysis.load(root)


def test_without_studies_there_are_no_sections_of_them(tmp_path):
  synthetic_runs.write_run(tmp_path, every=32_000)
  keys = [section.key for section in sections.build_all(analysis.load(tmp_path))]
  assert keys == ["paper", "training", "responses"]


def test_every_section_says_something_and_keeps_its_data(studied):
  found = sections.build_all(studied)
  assert [section.key for section in found] == [
    *("paper", "depth", "training", "responses", "blocks", "gradients", "paths", "lesions", "landscape", "identity"),
  ]
  for section in found:
    assert section.findings and section.commands and section.data, section.key
    assert section.panels or section.tables, section.key
    assert all(len(row) == len(table.columns) for table in section.tables for row in table.rows), section.key
  names = [panel.name for section in found for panel in section.panels]
  assert len(names) == len(set(names))


def test_lesions_tell_plain_from_residual(studied):
  section = lesions.build(studied)
  table = section.data["lesions"].set_index("label")
  assert table.loc["plain-20", "undisturbed"] == 0.09 and table.loc["plain-20", "median"] == 0.9
  assert table.loc["ResNet-20", "worst"] < 0.15 and table.loc["ResNet-20", "blocks"] == 9
  assert section.findings[0].startswith("plain-20: error 9.00 % intact and 90.00 to 90.00 % (median 90.00 %) with")
  assert [panel.name for panel in section.panels] == ["lesions-single", "lesions-delete_random", "lesions-reorder"]
  single = section.data["single_deletions"]
  assert list(single[single["label"] == "plain-20"]["position"]) == list(range(1, 10))
  assert list(section.data["lesions_delete_random"]["count"].unique()) == [1, 2, 4]
  assert len(section.tables[0].rows) == 2


def test_statistics_taken_again_are_a_row_of_their_own(tmp_path):
  directory = synthetic_runs.write_run(tmp_path, every=32_000)
  with study_records.writer(directory) as writer:
    for again, error in ((True, 0.1), (False, 0.5)):
      line = {"step": 1, "images": 9, "source": "test", "reestimated": again}
      writer.append("lesions", [{**line, "kind": "none", "error": 0.05}])
      writer.append("lesions", [{**line, "kind": "delete", "stage": 1, "block": 2, "error": error}])
  section = lesions.build(analysis.load(tmp_path))
  assert [row[1] for row in section.tables[0].rows] == ["re-estimated", "as trained"]
  assert list(section.data["single_deletions"]["mean"]) == [0.5]  # the figure shows the net as it was trained


def test_gradients_of_a_study_stand_in_for_those_of_training(studied):
  section = gradients.build(studied)
  assert section.commands == ("python -m resjax.study gradients --workdir runs",)
  plain = section.data["gradient_norm"].query("label == 'plain-20'")
  assert plain["mean"].iloc[0] / plain["mean"].iloc[-1] == pytest.approx(0.8**19)
  ratio = section.data["gradient_ratio"].query("label == 'plain-20'")
  assert list(ratio["mean"]) == pytest.approx([norm / 3 for norm in plain["mean"]])
  assert "the gradient norm of the first layer is 1/69 of that of the last layer" in section.findings[0]


def test_gradients_captured_in_training_come_first(tmp_path):
  from resjax import records

  directory = synthetic_runs.write_run(tmp_path, depth=20, every=32_000)
  synthetic_runs.write_studies(directory, 20, False)
  with records.RunWriter(directory) as writer:
    for step in (0, 10):
      writer.append("gradients", synthetic_runs.gradient_rows(20, True, step))
  section = gradients.build(analysis.load(tmp_path))
  assert set(section.data["gradient_norm"]["step"]) == {10}
  assert "gradients_through_training" in section.data
  assert section.commands[0].startswith("python -m resjax.main")


def test_blocks_are_said_relative_to_their_inputs(studied):
  section = blocks.build(studied)
  assert section.findings == (
    "plain-20: the response of a block is 1 times its input (median of 9 blocks; range 1 to 1).",
    "ResNet-20: the response of a block is 0.4 times its input (median of 9 blocks; range 0.4 to 0.4).",
  )
  assert list(section.data["blocks"].query("net == 'plain-d20'")["position"]) == list(range(1, 10))


def test_half_of_the_gradient_is_found(studied):
  section = paths.build(studied)
  assert section.findings == (
    "plain-20: the whole gradient flows through one path of 9 blocks.",
    "ResNet-20: half of the gradient flows through paths of at most 3 of 9 main branches.",
  )
  assert len(section.panels) == 1


def test_the_surface_is_drawn_and_eigenvalues_are_listed(studied):
  section = landscape.build(studied)
  assert [panel.name for panel in section.panels] == ["landscape-plain-d20", "landscape-residual-A-d20"]
  assert section.tables[0].rows[0] == ["plain-20", "0", "1", "72", "0.0001"]
  assert "plain-20: the largest eigenvalue of the Hessian is 72." in section.findings


def test_deepened_nets_are_listed(studied):
  section = identity.build(studied)
  assert "deepened from 20 to 26 layers by identity blocks: on" in section.findings[0]
  assert section.tables[0].rows[0][5:7] == ["9.00", "9.00"]


def test_a_section_names_the_commands_that_made_it_and_the_page_all_of_them(studied):
  assert lesions.build(studied).commands == ("python -m resjax.study lesion --workdir runs",)
  assert tuple(command.split()[3] for command in provenance(studied)["Studied by"]) == synthetic_runs.STUDIES


@pytest.mark.parametrize(
  ("slopes", "noise", "law", "runs"),
  [
    pytest.param((-0.5, -0.6), 0.0, separation.UNDECIDED, 2, id="two seeds that agree to a fifth"),
    pytest.param((-0.5, -0.5), 0.0, separation.HOLDS, 2, id="two equal seeds"),
    pytest.param((-0.5, None), 0.01, separation.HOLDS, 1, id="one of two seeds has a fit"),
    pytest.param((0.1, 0.2), 0.0, separation.FAILS, 2, id="D rises"),
  ],
)
def test_the_separation_law_is_undecided_only_for_lack_of_data(tmp_path, slopes, noise, law, runs):
  """Student's t of two seeds is 12.7, so that the interval of the slopes -0.5 and -0.6 reaches from -1.2 to 0.09."""
  for seed, slope in enumerate(slopes):
    directory = synthetic_runs.write_run(tmp_path, seed=seed, every=32_000)
    values = [None if slope is None else math.exp(5 + slope * at + noise * (-1) ** at) for at in range(10)]
    rows = [
      {
        "step": 1,
        "position": at,
        "stage": 1,
        "block": at or None,
        "images": 9,
        "separation": value,
        "cka_previous": 1.0,
      }
      for at, value in enumerate(values)
    ]
    with study_records.writer(directory) as writer:
      writer.append("layers", rows)
  logs = analysis.load(tmp_path)
  found = separation.separation_law(logs).iloc[0]
  assert (found["law"], found["runs"], found["alike"]) == (law, runs, 10)
  words = "is not decided, for too few seeds or blocks," if law == separation.UNDECIDED else law
  assert f"log D falling linearly with the block, {words} in ResNet-20 (" in layers.build(logs).findings[0]


@pytest.mark.parametrize(
  ("starts", "expected"),
  [
    pytest.param((0, 0), 400, id="in one program"),
    pytest.param((0, 150), 550, id="by two jobs"),
    pytest.param((0, 400), 800, id="one after the other"),
    pytest.param((0, 90_000), 800, id="with a pause"),
  ],
)
def test_the_duration_counts_simultaneous_runs_once(tmp_path, starts, expected):
  for seed, start in enumerate(starts):  # each run has two training lines and two evaluations of 100 seconds
    run_file = synthetic_runs.write_run(tmp_path, seed=seed, every=32_000) / "run.json"
    at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(seconds=start)
    run_file.write_text(json.dumps(json.loads(run_file.read_text()) | {"started": at.isoformat()}))
  logs = analysis.load(tmp_path)
  assert training_seconds(logs) == expected
  assert provenance(logs)["Minutes"] == [f"{expected / 60:.1f}"]


def test_a_notebook_shows_a_section(studied):
  shown = Section("k", "t", ("a < b",), panels=tuple(paths.build(studied).panels))._repr_html_()
  assert shown.startswith("<p>a &lt; b</p><svg") and "<?xml" not in shown


@pytest.mark.parametrize(("words", "said"), [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b and c")])
def test_words_are_listed(words, said):
  assert join_words(words) == said


def test_studies_that_have_only_begun(tmp_path):
  """The first line of each study, as it is while the study goes on."""
  directory: Path = synthetic_runs.write_run(tmp_path, every=32_000)
  with study_records.writer(directory) as writer:
    writer.append("lesions", [{"step": 1, "kind": "none", "error": 0.1, "images": 9, "source": "test"}])
    writer.append("landscape", [{"step": 1, "alpha": 0.0, "beta": 0.0, "loss": 0.3, "seed": 0}])
    writer.append("paths", [{"step": 1, "length": 0, "share": 0.1, "blocks": 9}])
  found = {section.key for section in sections.build_all(analysis.load(tmp_path))}
  assert {"lesions", "landscape", "paths"} <= found
