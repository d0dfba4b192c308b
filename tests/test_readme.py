"""Generated results and findings in Markdown files."""

import re

import pytest

from resjax import records, report
from resjax.analysis import readme
from tests import synthetic_runs

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
FIGURE = "<!-- figure -->\nold\n<!-- end of figure -->\n"
RESULTS_PAGE = f"before\n{FIGURE}{BEGIN}\nold\n{END}\nafter\n"
FINDINGS_PAGE = "<!-- findings -->\nold\n<!-- end of findings -->\n"


@pytest.fixture
def results(tmp_path):
  """Returns a folder of results with one study."""
  root = tmp_path / "results"
  synthetic_runs.write_run(root / "study", "residual", 20, 0, every=32_000)
  synthetic_runs.write_run(root / "study", "residual", 20, 1, every=32_000)
  synthetic_runs.write_run(root / "study", "plain", 20, 0, every=32_000)
  return root


def table(file) -> list[list[str]]:
  """Returns the cells of the generated table."""
  lines = [line for line in file.read_text().splitlines() if line.startswith("|")]
  assert lines[0].startswith("| network | test error %") and set(lines[1]) == set("|-: ")
  return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def write_results(root, tmp_path):
  """Writes the generated results to a file and returns its path."""
  file = tmp_path / "one.md"
  file.write_text(RESULTS_PAGE)
  readme.update(root, [file])
  return file


def test_the_table_has_one_row_per_network_with_the_number_of_the_paper_and_a_verdict(results, tmp_path):
  file = write_results(results, tmp_path)
  rows = table(file)
  assert [[row[0], *row[2:]] for row in rows] == [
    ["plain-20", "8.70 to 9.60 *", "1", "100 %", "agrees", "`study`"],
    ["ResNet-20", "8.75", "2", "100 %", "agrees", "`study`"],
  ]
  assert "±" in rows[1][1] and "±" not in rows[0][1]
  text = file.read_text()
  assert text.count("not comparable") == 0 and "`model.norm_images` batch of 128 (paper: per GPU, 64 images)" in text
  assert "0.16 points in the paper’s 5 runs of ResNet-110" in text  # plain-20 has one seed
  assert "The standard error of one seed includes the pooled standard deviation of the networks" in text
  assert text.index("](results/figures/overview.svg)") < text.index("| network |")
  assert "<svg" in (results / "figures" / "overview.svg").read_text()


def test_the_table_has_the_longest_trained_study_of_each_network(results, tmp_path):
  """Unfinished and very short runs and networks other than those of the paper are omitted."""
  quarter = {"steps": 16_000, "reached": 16_000, "every": 8_000}
  synthetic_runs.write_run(results / "study-quarter", "residual", 20, 5, **quarter)
  synthetic_runs.write_run(results / "study-quarter", "residual", 56, 5, **quarter)
  synthetic_runs.write_run(results / "study-quarter", "residual", 110, 5, status=records.RUNNING, **quarter)
  synthetic_runs.write_run(results / "study-quarter", "residual", 44, 5, shortcut="B", **quarter)
  initialized = [{"name": "initial weights", "paper": "random", "here": "another net"}]
  synthetic_runs.write_run(results / "study-identity", "residual", 32, 5, deviations=initialized)
  synthetic_runs.write_run(results / "elsewhere", "residual", 44, 5, steps=0, reached=0)
  synthetic_runs.write_run(results / "study-short", "plain", 44, 5, steps=4_000, reached=4_000)  # a sixteenth
  rows = table(write_results(results, tmp_path))
  assert [(row[0], row[4], row[6]) for row in rows] == [
    ("plain-20", "100 %", "`study`"),
    ("ResNet-20", "100 %", "`study`"),
    ("ResNet-56", "25 %", "`study-quarter`"),
  ]


def test_the_figure_has_the_study_with_most_networks(results, tmp_path):
  """Depth shows among networks with the same training; one network less, and the longer training counts."""
  quarter = {"steps": 16_000, "reached": 16_000, "every": 8_000}
  for kind, depth in (("residual", 20), ("residual", 56)):
    synthetic_runs.write_run(results / "study-quarter", kind, depth, 5, **quarter)
  assert "from `study`: 100 % of the paper’s schedule." in write_results(results, tmp_path).read_text()
  synthetic_runs.write_run(results / "study-quarter", "plain", 56, 5, **quarter)
  text = write_results(results, tmp_path).read_text()
  assert "from `study-quarter`: 25 % of the paper’s schedule." in text
  assert "training error in percent against step for ResNet-20, ResNet-56" in text


def test_verdicts_follow_from_two_standard_errors(tmp_path):
  """Two standard errors of one seed here, one in the paper (0.16 points each) and 10,000 images are 0.72 points."""
  for seed, error, words in ((0, 0.0944, "agrees"), (1, 0.0955, "higher"), (2, 0.0795, "lower")):
    root = tmp_path / str(seed)
    result = {"test_error": error, "train_error": 0.01, "test_images": 10_000}
    synthetic_runs.write_run(root / "study", "residual", 20, seed, every=32_000, result=result)
    run = root / "study" / f"residual-A-d20-s{seed}"
    with records.RunWriter(run) as writer:
      writer.update(result=result)
    ((*_, verdict, _),) = table(write_results(root, tmp_path))
    assert verdict == words


def test_without_a_network_of_the_paper_the_table_is_replaced_by_a_sentence(tmp_path):
  synthetic_runs.write_run(tmp_path / "results" / "study", "residual", 8, every=32_000)
  assert "No network of the paper has been trained" in write_results(tmp_path / "results", tmp_path).read_text()


def test_only_the_text_between_the_markers_changes(results, tmp_path, capsys):
  files = [tmp_path / "one.md", tmp_path / "two.md"]
  for file in files:
    file.write_text(RESULTS_PAGE)
  command = [str(results), "--readme", *map(str, files)]
  assert report.main(command) == 0
  text = files[0].read_text()
  assert text == files[1].read_text()
  assert text.startswith("before\n<!-- figure -->\n\n![") and text.endswith(f"\n\n{END}\nafter\n")
  assert report.main(command) == 0 and files[0].read_text() == text
  assert capsys.readouterr().err == ""


def test_findings_are_those_of_the_study_that_contains_the_file(results, tmp_path, capsys):
  synthetic_runs.write_run(results / "other", "residual", 56, 0, every=32_000)
  file = results / "study" / "README.md"
  file.write_text(FINDINGS_PAGE)
  assert report.main([str(results), "--readme", str(file)]) == 0
  text = file.read_text()
  page = (results / "study" / "report.html").read_text()
  said = re.findall(r"^- (The test error of .*)$", text, re.MULTILINE)
  assert said and all(sentence in page for sentence in said)
  assert "old" not in text and "ResNet-56" not in text and "- Devices: 1 x gpu (NVIDIA H200)" in text


def test_findings_outside_of_a_study_are_an_error(results, capsys):
  file = results / "README.md"
  file.write_text(FINDINGS_PAGE)
  assert report.main([str(results), "--readme", str(file)]) == 2
  error = capsys.readouterr().err
  assert f"{file}: findings" in error and f"must be in one of {results / 'study'}" in error
  assert file.read_text() == FINDINGS_PAGE


@pytest.mark.parametrize(
  "text", ["no lines", f"{END}\n{BEGIN}\n", RESULTS_PAGE + BEGIN + "\n", FINDINGS_PAGE + BEGIN + "\n"]
)
def test_a_file_without_markers_is_an_error_and_no_file_is_changed(results, tmp_path, text, capsys):
  good, file = tmp_path / "good.md", tmp_path / "one.md"
  good.write_text(RESULTS_PAGE)
  file.write_text(text)
  assert report.main([str(results), "--readme", str(good), str(file)]) == 2
  assert f"{file}: must have the lines {BEGIN} and {END}" in capsys.readouterr().err
  assert file.read_text() == text and good.read_text() == RESULTS_PAGE


def test_missing_runs_and_files_are_named(results, tmp_path, capsys):
  assert report.main([str(results), "--readme", str(tmp_path / "none.md")]) == 2
  assert "none.md: no such file" in capsys.readouterr().err
  (tmp_path / "empty").mkdir()
  for without in (tmp_path / "empty", records.find_runs(results)[0]):
    with pytest.raises(records.RecordsError, match="holds no run"):
      readme.update(without, [])
