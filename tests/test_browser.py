"""The report in a real browser: all figures are drawn, without requests, console errors or horizontal scrolling."""

from pathlib import Path

import pandas as pd
import pytest

from resjax import records
from resjax.analysis import page
from tests import browser, synthetic_runs

pytestmark = pytest.mark.skipif(browser.CHROMIUM is None, reason="Chromium is not installed")

FIGURES = """Array.from(document.querySelectorAll("main svg")).map(svg => {
  const box = svg.getBoundingClientRect(), shapes = svg.querySelectorAll("path, use, image, text").length;
  return [svg.parentElement.id, box.width, box.height, shapes, svg.getAttribute("aria-label")];
})"""
CELLS = """Array.from(document.querySelectorAll("section[aria-labelledby=errors] tbody tr"))
  .map(row => [row.cells[0].innerText.trim(), row.cells[1].innerText.trim()])"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
  """Returns the report of a sweep that has every section and includes a network of 1202 layers."""
  root = tmp_path_factory.mktemp("runs") / "cifar_depth_sweep"
  for kind in ("plain", "residual"):
    for seed in (0, 1):
      directory = synthetic_runs.write_run(root, kind, 20, seed, every=16_000)
    with records.RunWriter(directory) as writer:
      writer.append("responses", synthetic_runs.response_rows(kind, 20, 1, synthetic_runs.STEPS + 1))
    synthetic_runs.write_studies(directory, 20, kind == "plain")
  synthetic_runs.write_run(root, "residual", 1202, 0, every=16_000)
  return page.build(root)


@pytest.fixture(scope="module")
def window(tmp_path_factory):
  """Yields an empty page of a browser."""
  with browser.open_page(tmp_path_factory.mktemp("profile")) as opened:
    yield opened


@pytest.mark.parametrize("size", [browser.DESKTOP, browser.PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_without_external_requests(report, window, size, scheme):
  window.open(report.as_uri(), size, scheme)
  figures = window.evaluate(FIGURES)
  assert {name for name, *_ in figures} == {path.stem for path in (report.parent / "figures").iterdir()}
  for name, width, height, shapes, label in figures:
    assert width > 200 and height > 100 and shapes > 10 and label, name
  requested = [url for url in window.requests if not url.startswith("data:")]  # embedded images
  assert requested == [report.as_uri()]
  assert window.console_errors == []
  assert window.evaluate("document.scrollingElement.scrollWidth") <= size[0]
  dark = window.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 25, 29)"
  assert dark == (scheme == "dark")


def test_the_table_of_errors_has_the_numbers_of_the_records(report, window):
  window.open(report.as_uri())
  table = pd.read_csv(report.parent / "tables" / "errors.csv").set_index("label")
  cells = dict(window.evaluate(CELLS))
  assert set(cells) == set(table.index)
  runs = [records.read_run(path).run for path in records.find_runs(report.parent)]
  for label, depth, kind in (
    ("plain-20", 20, "plain"),
    ("ResNet-20", 20, "residual"),
    ("ResNet-1202", 1202, "residual"),
  ):
    errors = [run["result"]["test_error"] for run in runs if (run["depth"], run["kind"]) == (depth, kind)]
    assert cells[label].startswith(f"{100 * sum(errors) / len(errors):.2f}"), label


def test_tables_and_links_can_be_focused_with_the_keyboard(report, window):
  window.open(report.as_uri())
  focus_all = """(() => {
    document.querySelectorAll("details").forEach(one => { one.open = true; });
    const all = Array.from(document.querySelectorAll("a[href], [tabindex='0']"));
    return all.map(one => { one.focus(); return document.activeElement === one; });
  })()"""
  focused = window.evaluate(focus_all)
  assert len(focused) > 20 and all(focused)
  assert window.evaluate("Array.from(document.querySelectorAll('.scroll')).every(one => one.tabIndex === 0)")


def test_the_page_is_smaller_than_one_and_a_half_megabytes(report):
  """The size is bounded instead of the loading time, which depends on the machine."""
  assert report.stat().st_size < 1_500_000
