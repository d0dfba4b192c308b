"""The report: its HTML page, tables and figures, and the command."""

import html.parser
import re
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from resjax import records, report
from resjax.analysis import page
from tests import synthetic_runs

REPOSITORY = Path(__file__).parents[1]
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Reader(html.parser.HTMLParser):
  """Parses a page, asserting that tags are nested, and collects its text, headings and attributes."""

  def __init__(self, text: str):
    super().__init__()
    self.open: list[str] = []
    self.attributes: list[tuple[str, str, str]] = []
    self.headings: list[str] = []
    self.text = ""
    self.feed(text)
    self.close()
    assert not self.open, self.open

  def handle_starttag(self, tag, attrs):
    self.attributes += [(tag, name, value or "") for name, value in attrs]
    if tag not in VOID:
      self.open.append(tag)
    if re.fullmatch(r"h[1-6]", tag):
      self.headings.append(tag)

  def handle_startendtag(self, tag, attrs):
    self.attributes += [(tag, name, value or "") for name, value in attrs]

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def handle_data(self, data):
    if self.open and self.open[-1] not in ("style", "defs"):
      self.text += data

  def values(self, name: str) -> list[str]:
    return [value for _, own, value in self.attributes if own == name]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
  """Returns the path of the report of a sweep."""
  root = synthetic_runs.write_sweep(tmp_path_factory.mktemp("runs") / "cifar_depth_sweep")
  return page.build(root)


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
  """Runs `python -m resjax.report` with warnings as errors."""
  return subprocess.run(
    [sys.executable, "-W", "error", "-m", "resjax.report", *map(str, arguments)],
    cwd=REPOSITORY,
    capture_output=True,
    text=True,
    check=False,
  )


def rows(path: Path) -> dict[str, list[str]]:
  """Returns the cells of all table rows of a page by the heading of the row."""
  found = re.findall(r'<tr>\s*<th scope="row">(.*?)</tr>', path.read_text(), re.S)
  cells = [re.split(r"</t[hd]>", row) for row in found]
  return {
    re.sub(r"<[^>]*>", "", row[0]).strip(): [re.sub(r"<[^>]*>|\s+", " ", cell).strip() for cell in row[1:]]
    for row in reversed(cells)
  }


def test_the_page_needs_no_other_files_or_scripts(built):
  text = built.read_text()
  reader = Reader(text)
  assert "http" not in text and "//" not in re.sub(r"<code>.*?</code>", "", text, flags=re.S)
  assert "@import" not in text and "<script" not in text and "<link" not in text
  for name in ("src", "srcset", "data", "action", "poster"):
    assert not reader.values(name)
  assert set(re.findall(r"url\((.)", text)) <= {"#"}
  for target in reader.values("href"):
    assert target.startswith("#") or (built.parent / target).is_file(), target


def test_the_page_is_accessible(built):
  text = built.read_text()
  reader = Reader(text)
  assert reader.headings[0] == "h1" and set(reader.headings[1:]) == {"h2"}
  ids = reader.values("id")
  assert len(ids) == len(set(ids))
  for name in reader.values("aria-labelledby"):
    assert name in ids
  assert text.count("<svg") == text.count('<svg role="img" aria-label="') == 9
  assert text.count("<table") == text.count("<caption") == 9
  assert all(re.search(r"scope=", cell) for cell in re.findall(r"<th\b[^>]*>", text))
  assert 'lang="en"' in text and "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_the_page_has_the_numbers_of_the_records(built):
  table = pd.read_csv(built.parent / "tables" / "errors.csv").set_index("label")
  cells = rows(built)
  for label in ("plain-44", "ResNet-20"):
    mean, spread = 100 * table.loc[label, "test_error"], 100 * table.loc[label, "test_spread"]
    assert cells[label][0] == f"{mean:.2f} ± {spread:.2f}"
    low, high = (100 * table.loc[label, end] for end in ("test_low", "test_high"))
    assert cells[label][1] == f"{low:.2f} to {high:.2f}"
    assert mean - low == pytest.approx(12.7062 * spread / 2**0.5, rel=1e-4)  # Student's t, one degree of freedom
    assert cells[label][2] == f"± {100 * table.loc[label, 'sampling_error']:.2f}"
  assert cells["ResNet-44"][3] == "7.17"
  assert cells["plain-56"][3] == "11.80 to 14.20 *"
  assert cells["ResNet-56"][0] == "\N{EN DASH}"
  text = Reader(built.read_text()).text
  for words in (
    *("Does a deeper net train worse", "9 done", "1 failed", "38,000", "the training loss is not finite"),
    *("NVIDIA H200", "jax 0.10.2", "0123456789abcdef", "sha256:abab", "50,000", "batch of 128"),
    *("ResNet-56 at step 38,000 of 64,000", "Command\npython -m resjax.main --config experiments"),
    *(
      "agrees within error",
      "The test error of ResNet-44 is",
      "(one seed each)",
      "with model.norm_images batch of 128",
    ),
    *(
      "From plain-20 to plain-56, the test error changes",
      "The mean response of the residual network is smaller than that of the plain network at 20 and 44",
    ),
  ):
    assert words in text, words


def test_tables_and_figures_are_written_beside_the_page(built):
  names = {path.name for path in (built.parent / "tables").iterdir()}
  assert names == {
    *("errors.csv", "runs.csv", "deviations.csv", "events.csv"),
    *("error_curves.csv", "responses_original.csv", "responses_sorted.csv", "paper_comparison.csv", "comparisons.csv"),
    *("mean_responses.csv", "response_scaling.csv", "scaling.csv", "scaling_laws.csv"),
    *("frontier.csv", "training_macs_curves.csv"),
  }
  assert {path.name for path in (built.parent / "figures").iterdir()} == {
    *("fig6-plain.svg", "fig6-residual.svg", "fig7-original.svg", "fig7-sorted.svg"),
    *("responses-by-depth.svg", "scaling-test-error.svg", "scaling-train-loss.svg"),
    *("frontier-plain.svg", "frontier-residual-A.svg"),
  }
  curves = pd.read_csv(built.parent / "tables" / "error_curves.csv")
  assert curves["mean"].between(0, 1).all()  # fractions, as in the records


def test_rebuilding_the_report_gives_identical_files(built):
  def contents() -> dict[Path, bytes]:
    made = [built, *built.parent.glob("tables/*"), *built.parent.glob("figures/*")]
    return {path: path.read_bytes() for path in made}

  before = contents()
  assert len(before) == 25
  assert command(built.parent).returncode == 0  # another process, with another hash seed
  assert contents() == before


def test_text_from_records_is_escaped(tmp_path):
  markup = "<script>alert('x')</script> & \"more\""
  synthetic_runs.write_run(tmp_path / "e", status=records.FAILED, reason=markup, reached=2_000, command=markup)
  text = page.build(tmp_path / "e").read_text()
  Reader(text)
  assert "<script" not in text and text.count("&lt;script&gt;") >= 2


@pytest.mark.parametrize(
  ("status", "reached", "responses"),
  [
    (records.PENDING, 0, False),
    (records.RUNNING, 0, False),
    (records.FAILED, 0, False),
    (records.RUNNING, 2_000, False),
    (records.PREEMPTED, 2_000, True),
    (None, 0, False),
  ],
)
def test_a_sweep_without_results_has_a_page(tmp_path, status, reached, responses):
  directory = synthetic_runs.write_run(tmp_path, reached=reached, responses=responses, status=records.PENDING)
  with records.RunWriter(directory) as writer:
    writer.update(**({"status": status} if status else {"steps": None, "step": None, "kind": None, "depth": None}))
  text = Reader(page.build(tmp_path).read_text()).text
  assert "No run has finished yet" in text
  assert "trained elsewhere" not in text
  assert ("No errors have been logged yet" in text) == (not reached)
  assert ("No responses have been recorded yet" in text) == (not responses)


def test_unreadable_runs_are_named_on_the_page(tmp_path):
  (tmp_path / "broken").mkdir()
  (tmp_path / "broken" / "run.json").write_text("{")
  text = Reader(page.build(tmp_path).read_text()).text
  assert "1 unreadable" in text and "Could not be read: broken" in text


def test_a_parent_directory_gets_an_index_of_pages(tmp_path):
  for name in ("first", "second"):
    synthetic_runs.write_run(tmp_path / name, reached=4_000)
  shown = command(tmp_path)
  assert (shown.returncode, shown.stderr) == (0, "")
  assert shown.stdout == f"{tmp_path / 'index.html'}\n"
  reader = Reader((tmp_path / "index.html").read_text())
  assert reader.values("href") == ["first/report.html", "second/report.html"]
  assert all((tmp_path / target).is_file() for target in reader.values("href"))
  assert "1 done" in reader.text


def test_the_path_of_the_page_is_printed(tmp_path, capsys):
  synthetic_runs.write_run(tmp_path, reached=4_000)
  assert report.main([str(tmp_path)]) == 0
  assert capsys.readouterr().out == f"{tmp_path / 'report.html'}\n"


@pytest.mark.parametrize(
  ("arguments", "says"),
  [
    ([], "required: DIR"),
    (["nowhere"], "nowhere: no such directory"),
    (["empty"], "holds no run"),
    (["experiment/residual-A-d20-s0"], "is a single run"),
    (["experiment", "more"], "unrecognized arguments: more"),
    (["--color", "experiment"], "unrecognized arguments: --color"),
  ],
)
def test_invalid_arguments_are_a_one_line_error(tmp_path, monkeypatch, capsys, arguments, says):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "empty").mkdir()
  synthetic_runs.write_run(tmp_path / "experiment", reached=2_000)
  try:
    code = report.main(arguments)
  except SystemExit as e:
    code = e.code
  shown = capsys.readouterr()
  assert (code, shown.out, shown.err.count("\n")) == (2, "", 1)
  assert says in shown.err
  assert not list(tmp_path.rglob("*.html"))


def test_help_is_printed_within_three_seconds():
  start = time.perf_counter()
  shown = command("--help")
  assert shown.returncode == 0 and "DIR" in shown.stdout
  assert time.perf_counter() - start < 3
