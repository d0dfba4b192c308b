"""The report in a real browser: every figure drawn, no request leaves the page, no complaint, no sideways scroll."""

from pathlib import Path

import pandas as pd
import pytest

from resjax import records
from resjax.analysis import page
from tests import browser, synthetic_runs

pytestmark = pytest.mark.skipif(browser.PROGRAM is None, reason="no chromium: apt-get install chromium")

DRAWN = """Array.from(document.querySelectorAll("main svg")).map(svg => {
  const box = svg.getBoundingClientRect(), shapes = svg.querySelectorAll("path, use, image, text").length;
  return [svg.parentElement.id, box.width, box.height, shapes, svg.getAttribute("aria-label")];
})"""
CELLS = """Array.from(document.querySelectorAll("section[aria-labelledby=errors] tbody tr"))
  .map(row => [row.cells[0].innerText.trim(), row.cells[1].innerText.trim()])"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
  """A sweep with every section, one net of 1202 layers among it."""
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
  with browser.started(tmp_path_factory.mktemp("profile")) as opened:
    yield opened


@pytest.mark.parametrize("size", [browser.DESKTOP, browser.PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_figure_is_drawn_and_nothing_leaves_the_page(report, window, size, scheme):
  window.open(report.as_uri(), size, scheme)
  figures = window.run(DRAWN)
  assert {name for name, *_ in figures} == {path.stem for path in (report.parent / "figures").iterdir()}
  for name, width, height, shapes, words in figures:
    assert width > 200 and height > 100 and shapes > 10 and words, name
  asked = [url for url in window.requests if not url.startswith("data:")]  # pictures inside the page
  assert asked == [report.as_uri()]
  assert window.complaints == []
  assert window.run("document.scrollingElement.scrollWidth") <= size[0]
  dark = window.run("getComputedStyle(document.body).backgroundColor") == "rgb(22, 25, 29)"
  assert dark == (scheme == "dark")


def test_the_table_is_right_to_the_log(report, window):
  window.open(report.as_uri())
  table = pd.read_csv(report.parent / "tables" / "errors.csv").set_index("label")
  cells = dict(window.run(CELLS))
  assert set(cells) == set(table.index)
  runs = [records.read_run(path).run for path in records.find_runs(report.parent)]
  for label, depth, kind in (
    ("plain-20", 20, "plain"),
    ("ResNet-20", 20, "residual"),
    ("ResNet-1202", 1202, "residual"),
  ):
    logged = [run["result"]["test_error"] for run in runs if (run["depth"], run["kind"]) == (depth, kind)]
    assert cells[label].startswith(f"{100 * sum(logged) / len(logged):.2f}"), label


def test_the_keyboard_reaches_tables_and_links(report, window):
  window.open(report.as_uri())
  reached = """(() => {
    document.querySelectorAll("details").forEach(one => { one.open = true; });
    const all = Array.from(document.querySelectorAll("a[href], [tabindex='0']"));
    return all.map(one => { one.focus(); return document.activeElement === one; });
  })()"""
  focused = window.run(reached)
  assert len(focused) > 20 and all(focused)
  assert window.run("Array.from(document.querySelectorAll('.scroll')).every(one => one.tabIndex === 0)")


def test_the_page_stays_light(report):
  """What a phone has to load; seconds depend on the machine, bytes do not."""
  assert report.stat().st_size < 1_500_000
