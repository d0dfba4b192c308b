"""Look of the figures, and reproducible conversion of matplotlib figures to SVG.

The standalone SVG carries the colours of the light theme. In the page the same hex codes become CSS
variables, so one figure serves the light and the dark page.
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

# Shallow to deep: the deeper the net, the stronger the contrast with the page, so that the order
# survives any colour vision and a black and white print. Six, as many as the paper has depths.
SERIES_LIGHT = ("#dd720a", "#dd3f34", "#99348c", "#4c2cc0", "#26266e", "#08080f")
SERIES_DARK = ("#8f5bf5", "#e055c0", "#ff7f78", "#ffb347", "#f3ea6a", "#ffffff")
PAGE, PAGE_DARK = "#fcfcfb", "#16191d"
INK, INK_DARK = "#22262b", "#e6e8ea"
FAINT, FAINT_DARK = "#5c636b", "#a3abb3"
RULE, RULE_DARK = "#d9dce0", "#3a4048"

# Of heat maps: dark to bright in even steps for any colour vision, on the light and the dark page.
HEAT = "viridis"

# CSS variable, light colour, dark colour.
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
  "figure.facecolor": PAGE,  # a kept figure is readable on a dark page, too
  "font.size": 10,
  "grid.color": RULE,
  "grid.linewidth": 0.8,
  "legend.frameon": False,
  "legend.labelcolor": INK,
  "lines.solid_capstyle": "round",
  "svg.fonttype": "none",  # text stays text: it can be selected, searched and read aloud
  "svg.hashsalt": "resjax",  # otherwise the ids inside the file change with every run
  "text.color": INK,
  "text.parse_math": False,  # a dollar sign in a name is a dollar sign
  "xtick.color": FAINT,
  "ytick.color": FAINT,
  "xtick.labelcolor": INK,
  "ytick.labelcolor": INK,
  "ytick.left": False,
}
_SIZE = (5.0, 3.6)  # inches: two stand side by side on a desktop, one fills a phone
_LINE = 0.172  # inches between the middles of two lines of text
_DPI = 144  # of what is drawn as a picture: sharp on a screen of twice the usual density
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def series_colors(series: list[str]) -> dict[str, str]:
  """Returns a colour for each series, spread over the palette from shallow to deep."""
  last = len(SERIES_LIGHT) - 1
  if len(series) > len(SERIES_LIGHT):
    return dict(zip(series, itertools.cycle(SERIES_LIGHT), strict=False))
  # Few series stand far apart; six use every colour.
  spread = [round(i * last / max(len(series) - 1, 2)) for i in range(len(series))]
  return {name: SERIES_LIGHT[i] for name, i in zip(series, spread, strict=True)}


@contextmanager
def panel() -> Iterator[tuple[Figure, Axes]]:
  """Yields a figure with one pair of axes; the style applies inside the `with` block."""
  with panels(1, 1) as (figure, (axes,)):
    yield figure, axes


@contextmanager
def panels(rows: int, columns: int, height: float = _SIZE[1]) -> Iterator[tuple[Figure, list[Axes]]]:
  """Yields a figure with several pairs of axes, row by row, in the same style.

  Args:
    rows: Number of rows.
    columns: Number of columns.
    height: Height of a row in inches.
  """
  # From matplotlib's own defaults: a user's matplotlibrc must not change the page.
  with matplotlib.style.context(_RC, after_reset=True):
    figure = Figure(figsize=(columns * _SIZE[0], rows * height), layout="constrained")
    axes = [figure.add_subplot(rows, columns, number) for number in range(1, rows * columns + 1)]
    yield figure, axes


def to_svg(figure: Figure) -> str:
  """Returns the figure as a standalone SVG file on a light background. Call inside `panel`."""
  buffer = io.StringIO()
  figure.savefig(buffer, format="svg", dpi=_DPI, metadata=_NO_METADATA)
  return buffer.getvalue()


def inline_svg(svg: str, name: str, description: str) -> str:
  """Adapts an SVG to the page: theme colours, unique ids, and a description.

  Args:
    svg: what `to_svg` returned.
    name: unique in the page; prefixes every id.
    description: what someone who cannot see the figure is told.
  """
  head, body = svg[svg.index("<svg") :].split(">", 1)
  head = re.sub(r' (xmlns(:xlink)?|width|height)="[^"]*"', "", head)
  body = re.sub(r'(\bid="|xlink:href="#|url\(#)', rf"\g<1>{name}-", body)
  # The page's own font, at the figure's sizes; and no rule for every element of the page.
  body = re.sub(r" font-family: [^;\"]*;", "", body)
  body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)
  for variable, light, _ in THEME:
    body = body.replace(light, f"var({variable})")
  return f'<svg role="img" aria-label={quoteattr(description)}{head.removeprefix("<svg")}>{body}'


def label_line_ends(axes: Axes, ends: list[tuple[float, str, str]]) -> None:
  """Labels curves at the right edge, without overlaps.

  Args:
    axes: with its limits already set.
    ends: (height in the data's unit, text, colour) of each curve.
  """
  gap = _LINE * axes.figure.dpi / axes.bbox.height  # of the height of the axes
  to_axes = axes.transData + axes.transAxes.inverted()
  right = axes.get_xlim()[1]  # a position that a logarithmic axis has, too
  placed: list[tuple[float, str, str]] = []
  for height, text, color in sorted(ends):
    y = float(to_axes.transform((right, height))[1])
    y = min(max(y, 0.0), 1.0)
    placed.append((max(y, placed[-1][0] + gap) if placed else y, text, color))
  # A stack that grew over the top edge slides back down, keeping its gaps.
  ceiling = 1.0
  for y, text, color in reversed(placed):
    y = min(y, ceiling)
    ceiling = y - gap
    axes.text(1.02, y, text, color=color, va="center", transform=axes.transAxes, fontweight="bold")
