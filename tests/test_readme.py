"""The results and findings in Markdown files."""

import re

import pytest

from resjax import records, report
from resjax.analysis import readme
from tests import synthetic_runs

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
FIGURE = "<!-- figure -->\nold\n<!-- end of figure -->\n"
AROUND = f"before\n{FIGURE}{BEGIN}\nold\n{END}\nafter\n"
FOUND = "<!-- findings -->\nold\n<!-- end of findings -->\n"


@pytest.fixture
def results(tmp_path):
  root = tmp_path / "results"
  synthetic_runs.write_run(root / "study", "residual", 20, 0, every=32_000)
  synthetic_runs.write_run(root / "study", "residual", 20, 1, every=32_000)
  synthetic_runs.write_run(root / "study", "plain", 20, 0, every=32_000)
  return root


def table(file) -> list[list[str]]:
  lines = [line for line in file.read_text().splitlines() if line.startswith("|")]
  assert lines[0].startswith("| network | test error %") and set(lines[1]) == set("|-: ")
  return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def written(root, tmp_path):
  file = tmp_path / "one.md"
  file.write_text(AROUND)
  readme.update(root, [file])
  return file


def test_a_line_a_net_with_the_papers_number_and_the_verdict(results, tmp_path):
  file = written(results, tmp_path)
  rows = table(file)
  assert [[row[0], *row[2:]] for row in rows] == [
    ["plain-20", "8.70 to 9.60 *", "1", "100 %", "agrees", "`study`"],
    ["ResNet-20", "8.75", "2", "100 %", "agrees", "`study`"],
  ]
  assert "±" in rows[1][1] and "±" not in rows[0][1]
  text = file.read_text()
  assert text.count("not comparable") == 0 and "`model.norm_images` batch of 128 (paper: per GPU, 64 images)" in text
  assert "0.16 points in the paper’s 5 runs of ResNet-110" in text  # plain-20 has one seed
  assert text.index("](results/figures/overview.svg)") < text.index("| network |")
  assert "<svg" in (results / "figures" / "overview.svg").read_text()


def test_the_best_trained_study_of_a_net_is_in_the_table(results, tmp_path):
  """A quarter of the schedule is less than all, but more than nothing; half-done, short and other nets do not count."""
  quarter = {"steps": 16_000, "reached": 16_000, "every": 8_000}
  synthetic_runs.write_run(results / "study-quarter", "residual", 20, 5, **quarter)
  synthetic_runs.write_run(results / "study-quarter", "residual", 56, 5, **quarter)
  synthetic_runs.write_run(results / "study-quarter", "residual", 110, 5, status=records.RUNNING, **quarter)
  synthetic_runs.write_run(results / "study-quarter", "residual", 44, 5, shortcut="B", **quarter)
  began = [{"name": "initial weights", "paper": "random", "here": "another net"}]
  synthetic_runs.write_run(results / "study-identity", "residual", 32, 5, deviations=began)
  synthetic_runs.write_run(results / "elsewhere", "residual", 44, 5, steps=0, reached=0)
  synthetic_runs.write_run(results / "study-short", "plain", 44, 5, steps=4_000, reached=4_000)  # a sixteenth
  rows = table(written(results, tmp_path))
  assert [(row[0], row[4], row[6]) for row in rows] == [
    ("plain-20", "100 %", "`study`"),
    ("ResNet-20", "100 %", "`study`"),
    ("ResNet-56", "25 %", "`study-quarter`"),
  ]


def test_verdicts_are_of_a_word(tmp_path):
  """Two standard errors of 8.75 % on 10,000 images are 0.57 points."""
  for seed, error, words in ((0, 0.0932, "agrees"), (1, 0.0940, "higher"), (2, 0.0810, "lower")):
    root = tmp_path / str(seed)
    result = {"test_error": error, "train_error": 0.01, "test_images": 10_000}
    synthetic_runs.write_run(root / "study", "residual", 20, seed, every=32_000, result=result)
    run = root / "study" / f"residual-A-d20-s{seed}"
    with records.RunWriter(run) as writer:
      writer.update(result=result)
    ((*_, verdict, _),) = table(written(root, tmp_path))
    assert verdict == words


def test_without_a_net_of_the_paper_it_says_so(tmp_path):
  synthetic_runs.write_run(tmp_path / "results" / "study", "residual", 8, every=32_000)
  assert "No network of the paper has been trained" in written(tmp_path / "results", tmp_path).read_text()


def test_only_what_is_between_the_lines_changes(results, tmp_path, capsys):
  files = [tmp_path / "one.md", tmp_path / "two.md"]
  for file in files:
    file.write_text(AROUND)
  command = [str(results), "--readme", *map(str, files)]
  assert report.main(command) == 0
  text = files[0].read_text()
  assert text == files[1].read_text()
  assert text.startswith("before\n<!-- figure -->\n\n![") and text.endswith(f"\n\n{END}\nafter\n")
  assert report.main(command) == 0 and files[0].read_text() == text
  assert capsys.readouterr().err == ""


def test_findings_are_those_of_the_study_whose_directory_holds_the_file(results, tmp_path, capsys):
  synthetic_runs.write_run(results / "other", "residual", 56, 0, every=32_000)
  file = results / "study" / "README.md"
  file.write_text(FOUND)
  assert report.main([str(results), "--readme", str(file)]) == 0
  text = file.read_text()
  page = (results / "study" / "report.html").read_text()
  said = re.findall(r"^- (The test error of .*)$", text, re.MULTILINE)
  assert said and all(sentence in page for sentence in said)
  assert "old" not in text and "ResNet-56" not in text and "- Devices: 1 x gpu (NVIDIA H200)" in text


def test_findings_outside_of_the_directory_of_a_study_are_refused(results, capsys):
  file = results / "README.md"
  file.write_text(FOUND)
  assert report.main([str(results), "--readme", str(file)]) == 2
  error = capsys.readouterr().err
  assert f"{file}: findings" in error and f"must be in one of {results / 'study'}" in error
  assert file.read_text() == FOUND


@pytest.mark.parametrize("text", ["no lines", f"{END}\n{BEGIN}\n", AROUND + BEGIN + "\n", FOUND + BEGIN + "\n"])
def test_a_file_without_the_two_lines_is_refused_and_none_is_changed(results, tmp_path, text, capsys):
  good, file = tmp_path / "good.md", tmp_path / "one.md"
  good.write_text(AROUND)
  file.write_text(text)
  assert report.main([str(results), "--readme", str(good), str(file)]) == 2
  assert f"{file}: must have the lines {BEGIN} and {END}" in capsys.readouterr().err
  assert file.read_text() == text and good.read_text() == AROUND


def test_no_runs_and_no_file_are_named(results, tmp_path, capsys):
  assert report.main([str(results), "--readme", str(tmp_path / "none.md")]) == 2
  assert "none.md: no such file" in capsys.readouterr().err
  (tmp_path / "empty").mkdir()
  for without in (tmp_path / "empty", records.find_runs(results)[0]):
    with pytest.raises(records.RecordsError, match="holds no run"):
      readme.update(without, [])
