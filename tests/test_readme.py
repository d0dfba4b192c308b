"""The results and findings in Markdown files."""

import re

import pytest

from resjax import records, report
from resjax.analysis import readme
from tests import synthetic

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
AROUND = f"before\n{BEGIN}\nold\n{END}\nafter\n"
FOUND = "<!-- findings -->\nold\n<!-- end of findings -->\n"


@pytest.fixture
def results(tmp_path):
  root = tmp_path / "results"
  synthetic.write_run(root / "study", "residual", 20, 0, every=32_000)
  synthetic.write_run(root / "study", "residual", 20, 1, every=32_000)
  synthetic.write_run(root / "study", "plain", 20, 0, every=32_000)
  return root


def test_a_line_a_net_with_the_papers_number_and_the_verdict(results, tmp_path):
  file = tmp_path / "one.md"
  file.write_text(AROUND)
  readme.update(results, [file])
  lines = [line for line in file.read_text().splitlines() if line.startswith("|")]
  assert lines[0].startswith("| study | net | seeds |") and set(lines[1]) == set("|- ")
  rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
  assert [row[:3] for row in rows] == [["study", "plain-20", "1"], ["study", "ResNet-20", "2"]]
  assert [row[6] for row in rows] == ["8.70 to 9.60 *", "8.75"]
  assert all(row[7:9] == ["64,000", "cifar10"] for row in rows)
  assert "±" in rows[1][4] and "±" not in rows[0][4]
  assert all(row[9].startswith(("agrees", "differs", "not comparable")) for row in rows)


def test_only_what_is_between_the_lines_changes(results, tmp_path, capsys):
  files = [tmp_path / "one.md", tmp_path / "two.md"]
  for file in files:
    file.write_text(AROUND)
  command = [str(results), "--readme", *map(str, files)]
  assert report.main(command) == 0
  text = files[0].read_text()
  assert text == files[1].read_text()
  assert text.startswith(f"before\n{BEGIN}\n\n| study |") and text.endswith(f"|\n\n{END}\nafter\n")
  assert report.main(command) == 0 and files[0].read_text() == text
  assert capsys.readouterr().err == ""


@pytest.mark.parametrize("folder", ["results", "."])
def test_findings_are_what_the_page_says_with_figures_that_are_there(results, tmp_path, folder, capsys):
  file = tmp_path / folder / "README.md"
  file.write_text(FOUND + AROUND)
  assert report.main([str(results), "--readme", str(file)]) == 0
  text = file.read_text()
  assert "old" not in text and "| study | net |" in text
  page = (results / "study" / "report.html").read_text()
  said = re.findall(r"^- (.*errs .*)$", text, re.MULTILINE)
  assert said and all(sentence in page for sentence in said)
  figures = re.findall(r"\]\((.*?)\)", text)
  assert figures and all((file.parent / figure).is_file() for figure in figures)
  assert "- Devices: 1 x gpu (NVIDIA H200)" in text


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
