"""Style of the figures, and reproducible conversion of Matplotlib figures to SVG.

Standalone SVG files have the colors of the light theme. In the page, these colors are replaced by CSS variables, so
that the same figure fits the light and the dark theme.
"""

import io
import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import quoteattr

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# From shallow to deep. Deeper networks have more contrast with the page, so that the order can be seen with any color
# vision and in black and white. There are six colors because the paper has six depths.
SERIES_LIGHT = ("#dd720a", "#dd3f34", "#99348c", "#4c2cc0", "#26266e", "#08080f")
SERIES_DARK = ("#8f5bf5", "#e055c0", "#ff7f78", "#ffb347", "#f3ea6a", "#ffffff")
PAGE, PAGE_DARK = "#fcfcfb", "#16191d"
INK, INK_DARK = "#22262b", "#e6e8ea"
FAINT, FAINT_DARK = "#5c636b", "#a3abb3"
RULE, RULE_DARK = "#d9dce0", "#3a4048"

# Color map of heat maps, perceptually uniform for any color vision, on the light and the dark page.
HEAT = "viridis"

# CSS variable, light color, dark color.
THEME = (
  ("--page", PAGE, PAGE_DARK),
  ("--ink", INK, INK_DARK),
  ("--faint", FAINT, FAINT_DARK),
  ("--rule", RULE, RULE_DARK),
  *((f"--series-{i}", *pair) for i, pair in enumerate(zip(SERIES_LIGHT, SERIES_DARK, strict=True), start=1)),
)

_RC: dict[Any, Any] = {
  "axes.axisbelow": True,
  "axes.edgecolor": FAINT,
  "axes.facecolor": "none",
  "axes.grid": True,
  "axes.grid.axis": "y",
  "axes.labelcolor": INK,
  "axes.spines.left": False,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "axes.titlecolor": INK,
  "axes.titlelocation": "left",
  "axes.titlesize": 11,
  "axes.titleweight": "bold",
  "figure.facecolor": PAGE,  # so that a downloaded figure is readable on a dark background
  "font.size": 10,
  "grid.color": RULE,
  "grid.linewidth": 0.8,
  "legend.frameon": False,
  "legend.labelcolor": INK,
  "lines.solid_capstyle": "round",
  "svg.fonttype": "none",  # text remains text, so that it can be selected, searched and read aloud
  "svg.hashsalt": "resjax",  # makes the ids inside the file reproducible
  "text.color": INK,
  "text.parse_math": False,  # dollar signs in names are not math
  "xtick.color": FAINT,
  "ytick.color": FAINT,
  "xtick.labelcolor": INK,
  "ytick.labelcolor": INK,
  "ytick.left": False,
}
_SIZE = (5.0, 3.6)  # inches; two panels fit side by side on a desktop, one fills a phone
_MAX_LABEL = 24  # characters beside a curve: longer labels would leave no room for the axes
_LINE_HEIGHT = 0.172  # inches between the centers of two lines of text
_DPI = 144  # of bitmaps inside the SVG, sharp on a screen of twice the usual density
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def series_colors(series: list[str]) -> dict[str, str]:
  """Returns a color by series, spread over the palette from shallow to deep.

  Args:
    series: Names of the series, shallow before deep.
  """
  last = len(SERIES_LIGHT) - 1
  if len(series) > len(SERIES_LIGHT):
    return dict(zip(series, itertools.cycle(SERIES_LIGHT), strict=False))
  # Few series get colors that differ strongly; six series use all of them.
  spread = [round(i * last / max(len(series) - 1, 2)) for i in range(len(series))]
  return {name: SERIES_LIGHT[i] for name, i in zip(series, spread, strict=True)}


@contextmanager
def panel() -> Iterator[tuple[Figure, Axes]]:
  """Yields a figure with one pair of axes, in the style of the report inside the `with` block."""
  with panels(1, 1) as (figure, (axes,)):
    yield figure, axes


@contextmanager
def panels(rows: int, columns: int, height: float = _SIZE[1]) -> Iterator[tuple[Figure, list[Axes]]]:
  """Yields a figure with several pairs of axes, row by row, in the style of the report inside the `with` block.

  Args:
    rows: Number of rows.
    columns: Number of columns.
    height: Height of a row in inches.
  """
  # The style starts from Matplotlib's defaults, so that a user's matplotlibrc does not change the report.
  with matplotlib.style.context(_RC, after_reset=True):
    figure = Figure(figsize=(columns * _SIZE[0], rows * height), layout="constrained")
    axes = [figure.add_subplot(rows, columns, number) for number in range(1, rows * columns + 1)]
    yield figure, axes


def to_svg(figure: Figure) -> str:
  """Returns the figure as a standalone SVG file with a light background. It has to be called inside `panel`."""
  buffer = io.StringIO()
  figure.savefig(buffer, format="svg", dpi=_DPI, metadata=_NO_METADATA)
  return buffer.getvalue()


def inline_svg(svg: str, name: str, description: str) -> str:
  """Adapts an SVG file to the page: CSS variables for colors, unique ids, and a description.

  Args:
    svg: Result of `to_svg`.
    name: Prefix of every id, unique in the page.
    description: Description for readers who cannot see the figure.

  Returns:
    An `svg` element for HTML.
  """
  head, body = svg[svg.index("<svg") :].split(">", 1)
  head = re.sub(r' (xmlns(:xlink)?|width|height)="[^"]*"', "", head)
  body = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", body)
  # The page's font is used at the sizes of the figure. The style sheet of the figure would apply to the whole page.
  body = re.sub(r" font-family: [^;\"]*;", "", body)
  body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
  for variable, light, _ in THEME:
    body = body.replace(light, f"var({variable})")
  return f'<svg role="img" aria-label={quoteattr(description)}{head.removeprefix("<svg")}>{body}'


def _shorten(label: str) -> str:
  """Returns a label of at most `_MAX_LABEL` characters; of a longer one, the middle is left out, not the first word."""
  if len(label) <= _MAX_LABEL:
    return label
  head = min(max(label.find(" "), _MAX_LABEL // 3), _MAX_LABEL // 2)
  return f"{label[:head]}…{label[len(label) - (_MAX_LABEL - head - 1) :]}"


def label_line_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
  """Labels curves at the right edge, without overlaps.

  Args:
    axes: Axes whose limits are already set.
    ends: For each curve (height in data coordinates, text, color).
  """
  gap = _LINE_HEIGHT * axes.figure.dpi / axes.bbox.height  # as a fraction of the height of the axes
  to_axes = axes.transData + axes.transAxes.inverted()
  right = axes.get_xlim()[1]  # any position would do, but a logarithmic axis has no 0
  placed: list[tuple[float, str, str]] = []
  for height, text, color in sorted(ends):
    y = float(to_axes.transform((right, height))[1])
    y = min(max(y, 0.0), 1.0)
    placed.append((max(y, placed[-1][0] + gap) if placed else y, text, color))
  # Labels above the top edge are moved down, with their gaps.
  ceiling = 1.0
  for y, text, color in reversed(placed):
    y = min(y, ceiling)
    ceiling = y - gap
    axes.text(1.02, y, _shorten(text), color=color, va="center", transform=axes.transAxes, fontweight="bold")
