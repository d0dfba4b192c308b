"""Figures: contents, labels and colors, also for little, much and unusual data."""

import itertools
import re

import pytest

from resjax import analysis, records
from resjax.analysis import figures, style
from tests import synthetic_runs


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> analysis.Logs:
  return analysis.load(synthetic_runs.write_sweep(tmp_path_factory.mktemp("sweep")))


def test_figure_6_has_one_panel_per_kind_and_labels_every_network(sweep):
  panels = analysis_figures(sweep)["fig6"]
  assert [panel.name for panel in panels] == ["fig6-plain", "fig6-residual"]
  for panel in panels:
    for depth in ("20", "44", "56"):
      assert re.search(rf"<text [^>]*>{depth}</text>", panel.svg)
  legends = ["test error" in panel.svg and "training error" in panel.svg for panel in panels]
  assert legends == [True, False]  # one legend for the figure
  assert "test and training error" in panels[0].description and "plain-56" in panels[0].description


def analysis_figures(logs: analysis.Logs) -> dict[str, list[figures.Panel]]:
  """Returns the panels of Fig. 6 and Fig. 7."""
  return {"fig6": figures.figure6(logs), "fig7": figures.figure7(logs)}


def test_figure_6_shows_validation_errors_if_there_are_no_test_errors(tmp_path):
  directory = synthetic_runs.write_run(tmp_path)
  lines = (directory / "metrics.jsonl").read_text().replace('"test"', '"val"')
  (directory / "metrics.jsonl").write_text(lines)
  (panel,) = figures.figure6(analysis.load(tmp_path))
  assert "validation error" in panel.svg and "test error" not in panel.svg


def test_figures_of_a_thousand_layers_are_small_and_have_relative_positions(tmp_path):
  for kind, depth in (("plain", 20), ("residual", 20), ("residual", 1202)):
    synthetic_runs.write_run(tmp_path, kind, depth)
  logs = analysis.load(tmp_path)
  assert len(analysis.response_curves(logs, "original").query("depth == 1202")) == 1201
  for panel in figures.figure7(logs):
    assert "number of layers)" in panel.svg
    assert "ResNet-1202" in panel.svg
    assert len(panel.svg) < 60_000


def test_figure_7_can_show_a_response_of_zero_and_a_wide_range(tmp_path):
  directory = synthetic_runs.write_run(tmp_path, responses=False)
  with records.RunWriter(directory) as writer:
    writer.append("responses", [{"step": 1, "layer": layer, "std": 0.0 if layer == 2 else 1e-4} for layer in (1, 2, 3)])
  synthetic_runs.write_run(tmp_path, "plain")
  assert len(figures.figure7(analysis.load(tmp_path))) == 2


def marker_heights(svg: str) -> list[float]:
  """Returns the y coordinates of the markers."""
  return [float(y) for y in re.findall(r'<use xlink:href="[^"]*" x="[^"]*" y="([^"]*)"', svg)]


@pytest.mark.parametrize("error", [0.0, 1.0])
@pytest.mark.parametrize("steps", [(0,), (5,), (1, 2, 3)])
def test_figure_6_can_show_few_points_and_extreme_errors(tmp_path, error, steps):
  directory = synthetic_runs.write_run(tmp_path, reached=0, responses=False, status=records.RUNNING)
  with records.RunWriter(directory) as writer:
    writer.append("metrics", [{"step": step, "split": "test", "error": error} for step in steps])
  (panel,) = figures.figure6(analysis.load(tmp_path))
  assert re.search(
    r"<text [^>]*font-weight: 700[^>]*>20</text>", panel.svg
  )  # the label is at the test error, because there is no training error


def test_errors_beyond_the_scale_are_marked_at_its_edge(tmp_path):
  synthetic_runs.write_run(tmp_path, "plain", depth=20)
  directory = synthetic_runs.write_run(tmp_path, "plain", depth=44, reached=0, responses=False, status=records.FAILED)
  with records.RunWriter(directory) as writer:
    writer.append("metrics", [{"step": 200, "split": "test", "error": 0.9}])
  (panel,) = figures.figure6(analysis.load(tmp_path))
  assert all(0 < y < 260 for y in marker_heights(panel.svg))


def test_a_dollar_sign_in_a_name_is_not_math(tmp_path):
  with records.RunWriter(synthetic_runs.write_run(tmp_path)) as writer:
    writer.update(id="residual-A-d20-$x^{-s0", experiment="e")
    writer.append("responses", synthetic_runs.response_rows("residual", 20, 0, synthetic_runs.STEPS + 1))
  assert all("ResNet-20 $x^{" in panel.svg for panel in figures.figure7(analysis.load(tmp_path)))


def test_long_names_of_swept_settings_leave_room_for_the_axes(tmp_path):
  """matplotlib warns if the labels leave no room for the axes, and a warning fails a test."""
  settings = "norm_none-preactivation-branch_scale_0.5-initialization_tailored-learning_rate_"
  for seed, rate in enumerate(("0.0625", "1e-05")):
    run_id = f"residual-A-d20-{settings}{rate}-s{seed}"
    with records.RunWriter(synthetic_runs.write_run(tmp_path, seed=seed)) as writer:
      writer.update(id=run_id)
      writer.append("responses", synthetic_runs.response_rows("residual", 20, seed, synthetic_runs.STEPS + 1))
  logs = analysis.load(tmp_path)
  assert [net.label for net in logs.networks] == ["ResNet-20 learning_rate_0.0625", "ResNet-20 learning_rate_1e-05"]
  drawn = analysis_figures(logs)
  assert "ResNet-20…ng_rate_0.0625" in drawn["fig7"][0].svg and "ResNet-20…ing_rate_1e-05" in drawn["fig7"][0].svg


def test_without_data_there_are_no_figures(tmp_path):
  synthetic_runs.write_run(tmp_path, status=records.PENDING, reached=0)
  assert analysis_figures(analysis.load(tmp_path)) == {"fig6": [], "fig7": []}


def test_figures_do_not_depend_on_the_matplotlib_settings_of_the_user(sweep, monkeypatch):
  import matplotlib

  first = analysis_figures(sweep)
  with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other", "lines.linewidth": 9}):
    assert analysis_figures(sweep) == first


def test_labels_at_line_ends_do_not_overlap_and_stay_inside():
  with style.panel() as (figure, axes):
    axes.set_ylim(0, 1)
    style.label_line_ends(axes, [(height, str(height), "#000000") for height in (0.99, 1.0, 0.98, 0.0, 0.001, 5.0)])
    heights = sorted(text.get_position()[1] for text in axes.texts)
  assert len(figure.axes) == 1
  assert all(b - a >= 0.06 for a, b in itertools.pairwise(heights))
  assert heights[0] >= 0 and heights[-1] <= 1


def luminance(color: str) -> float:
  """Returns the relative luminance of a color as defined by WCAG."""
  channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
  linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a: str, b: str) -> float:
  """Returns the contrast ratio of two colors as defined by WCAG."""
  bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
  return (bright + 0.05) / (dark + 0.05)


def test_colors_have_enough_contrast_in_both_themes_and_more_for_deeper_networks():
  for series, page, ink in (
    (style.SERIES_LIGHT, style.PAGE, (style.INK, style.FAINT)),
    (style.SERIES_DARK, style.PAGE_DARK, (style.INK_DARK, style.FAINT_DARK)),
  ):
    ratios = [contrast(color, page) for color in series]
    assert ratios == sorted(ratios) and ratios[0] >= 3  # WCAG 1.4.11, graphics
    assert all(contrast(color, page) >= 4.5 for color in ink)  # WCAG 1.4.3, text
  assert len({light for _, light, _ in style.THEME}) == len(style.THEME)  # each color is one CSS variable


def test_inline_figures_have_css_colors_and_unique_ids(sweep):
  panels = analysis_figures(sweep)["fig7"]
  assert all(f'fill: {style.PAGE}"' in panel.svg for panel in panels)  # the background of the file
  inlined = [style.inline_svg(panel.svg, panel.name, 'a "quoted" <text>') for panel in panels]
  for svg in inlined:
    assert not re.findall(r"#[0-9a-f]{6}", svg)
    assert svg.startswith('<svg role="img" aria-label=')
    assert "<text>" not in svg.split(">")[0]
  ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in inlined]
  assert not ids[0] & ids[1]
  for svg, own in zip(inlined, ids, strict=True):
    assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) <= own


def test_responses_over_many_decades_have_a_labeled_axis(tmp_path):
  """Early in training, running statistics can give responses of many orders of magnitude."""
  for depth, decades in ((20, 0), (110, 10)):
    directory = synthetic_runs.write_run(tmp_path, depth=depth, responses=False)
    with records.RunWriter(directory) as writer:
      writer.append("responses", [{"step": 1, "layer": n, "std": 10 ** (decades * n / depth)} for n in range(1, depth)])
  for panel in figures.figure7(analysis.load(tmp_path)):
    assert "1e+06" in panel.svg
