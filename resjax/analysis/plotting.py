"""Drawing code shared by the figures: panels, curves with bands, heat maps, axes and legends."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import ScaledTranslation

from resjax.analysis import style
from resjax.analysis.networks import Network, series_order

SOLID: Any = "-"
DASHED: Any = (0, (3, 1.7))
# By kind of network, then by variant. Plain networks are dashed in every figure.
_PLAIN_STYLES: Sequence[Any] = (DASHED, (0, (6, 2)), (0, (1.5, 1.5)))
_OTHER_STYLES: Sequence[Any] = (SOLID, (0, (7, 1.5, 1, 1.5)), (0, (1, 1)))
_ABOVE_TITLE = 0.25  # inches from the top of the axes to a legend
# Beyond so many layers a curve draws groups of neighbours: their mean, and a band over them.
MAX_POINTS = 200
# Beyond this ratio of the largest value to a net's typical one the smaller ones would lie on a linear axis.
_COMPARABLE = 10


@dataclasses.dataclass(frozen=True)
class Panel:
  """One figure: file name without suffix, SVG, and description for readers who cannot see it."""

  name: str
  svg: str
  description: str

  def _repr_svg_(self) -> str:
    """Returns the SVG for a notebook."""
    return self.svg


def network_colors(networks: Iterable[Network]) -> dict[str, str]:
  """Returns the colour of each network by its key: one for each depth, the same in every figure of an experiment."""
  every = list(networks)
  of_series = style.series_colors(series_order(every))
  return {net.key: of_series[net.series] for net in every}


def line_style(net: Network) -> Any:
  """Returns the dashes of a network's curves, the same in every figure."""
  styles = _PLAIN_STYLES if net.kind == "plain" else _OTHER_STYLES
  return styles[net.variant % len(styles)]


def network_curve(curves: pd.DataFrame, net: Network) -> dict[str, list[float]]:
  """Returns the columns of a network's curve as lists; {} if it has none."""
  own = curves[curves["net"] == net.key]
  numbers = ("step", "position", "count", "length", "tau", "mean", "low", "high", "runs")
  columns = [name for name in numbers if name in own]
  return {name: own[name].astype("float64").tolist() for name in columns} if len(own) else {}


class Line(NamedTuple):
  """Style of a line.

  Attributes:
    color: Color.
    width: Width in points.
    dashes: Dashes, as Matplotlib's `linestyle`.
    marker: Marker at each point, or None.
  """

  color: str
  width: float
  dashes: Any
  marker: str | None = None


def draw_curve(axes: Axes, curve: dict[str, list[float]], x: str, line: Line, scale: float = 1) -> None:
  """Draws the mean as a line and, with several seeds, their range as a band.

  Args:
    axes: Axes to draw on.
    curve: Columns of the curve, see `network_curve`.
    x: Column of the horizontal axis.
    line: Style of the line.
    scale: Factor of the values, 100 for percent.
  """
  mean, low, high = ([scale * value for value in curve[key]] for key in ("mean", "low", "high"))
  marker = "." if len(mean) == 1 else line.marker  # a line through a single point is invisible
  axes.plot(curve[x], mean, color=line.color, linewidth=line.width, linestyle=line.dashes, marker=marker, markersize=4)
  if max(curve["runs"]) > 1:
    axes.fill_between(curve[x], low, high, color=line.color, alpha=0.18, linewidth=0)


def downsample(curves: pd.DataFrame, by: str | list[str] = "net") -> pd.DataFrame:
  """Reduces curves to at most `MAX_POINTS` points by averaging neighbouring layers, with their range as band."""
  keys = [by] if isinstance(by, str) else by
  width = -(-curves["layers"] // MAX_POINTS)
  group = (curves.groupby(keys).cumcount() // width).rename("group")
  points = curves.groupby([*keys, group], sort=False)
  return points.agg(
    position=("position", "mean"),
    layers=("layers", "first"),
    mean=("mean", "mean"),
    low=("low", "min"),
    high=("high", "max"),
    runs=("runs", "sum"),
  ).reset_index()


def log_scale_if_wide(axes: Axes, curves: pd.DataFrame) -> None:
  """Uses a logarithmic vertical axis if values span an order of magnitude, otherwise one that starts at zero."""
  drawn = curves[curves["mean"] > 0]
  typical = drawn.groupby("net")["mean"].median()
  if drawn["mean"].max() > _COMPARABLE * typical.min():
    log_scale(axes, "y")
  else:
    axes.set_ylim(bottom=0)


def log_scale(axes: Axes, name: Literal["x", "y"], label: Callable[[float], str] = "{:g}".format) -> None:
  """Makes an axis logarithmic with several readable tick labels; call it after drawing.

  Args:
    axes: Axes with their curves.
    name: The axis.
    label: Text of a tick.
  """
  getattr(axes, f"set_{name}scale")("log", nonpositive="mask")
  axis: Axis = getattr(axes, f"{name}axis")
  axis.set_major_locator(FixedLocator(log_ticks(*getattr(axes, f"get_{name}lim")())))
  axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
  axis.set_minor_locator(NullLocator())


def power_ticks(axes: Axes, name: Literal["x", "y"]) -> None:
  """Labels every second power of two of an axis in base two as "2^-4"."""
  axis: Axis = getattr(axes, f"{name}axis")
  low, high = (math.log2(limit) for limit in getattr(axes, f"get_{name}lim")())
  axis.set_major_locator(FixedLocator([2.0**power for power in range(math.ceil(low), math.floor(high) + 1, 2)]))
  axis.set_major_formatter(FuncFormatter(lambda value, _: f"2^{round(math.log2(value))}"))
  axis.set_minor_locator(NullLocator())


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
  """Chooses tick positions of a logarithmic axis: at least three where possible, at most `most`.

  Args:
    low: Lower limit, positive.
    high: Upper limit, above `low`.
    most: Largest number of ticks.
  """
  exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  for mantissas in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
    ticks = [m * 10.0**e for e in exponents for m in mantissas if low <= m * 10.0**e <= high]
    if len(ticks) >= 3:
      return ticks[:: -(-len(ticks) // most)]
  return [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]


def limits(norm: Normalize) -> tuple[float, float]:
  """Returns the limits of a norm that has been given both."""
  assert norm.vmin is not None
  assert norm.vmax is not None
  return norm.vmin, norm.vmax


def heat_map(axes: Axes, x: list[float], y: list[float], values: np.ndarray, norm: Normalize, label: str) -> None:
  """Draws a heat map as a bitmap inside the SVG, because vector cells would be a thousand times larger.

  Args:
    axes: Axes to draw on.
    x: Horizontal edges of the cells, [columns + 1].
    y: Vertical edges of the cells, [rows + 1].
    values: Values of the cells, [rows, columns]; missing ones are transparent.
    norm: Mapping from values to colors, which several maps can share.
    label: Label of the color bar.
  """
  low, high = limits(norm)
  beyond = (float(np.nanmin(values)) < low, float(np.nanmax(values)) > high)
  mesh = axes.pcolormesh(x, y, np.ma.masked_invalid(values), cmap=style.HEAT, norm=norm, rasterized=True)
  axes.grid(visible=False)
  extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get(beyond, "neither")
  bar = axes.figure.colorbar(mesh, ax=axes, pad=0.02, aspect=30, extend=extend)
  bar.set_label(label)
  bar.outline.set_visible(False)
  if isinstance(norm, LogNorm):
    bar.set_ticks(log_ticks(low, high), minor=False)
    bar.ax.yaxis.set_minor_locator(NullLocator())
  bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def cell_edges(middles: list[float]) -> list[float]:
  """Returns cell edges halfway between the centres; a single cell is one unit wide."""
  if len(middles) == 1:
    return [middles[0] - 0.5, middles[0] + 0.5]
  inner = [(a + b) / 2 for a, b in itertools.pairwise(middles)]
  return [2 * middles[0] - inner[0], *inner, 2 * middles[-1] - inner[-1]]


def format_step(value: float, _: int = 0) -> str:
  """Formats a step for an axis: 32000 is "32k"."""
  return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def add_line_legend(axes: Axes, keys: Mapping[str, tuple[Any, float]]) -> None:
  """Adds a legend of line styles above the axes: name to (dashes, width)."""
  lines = [
    Line2D([], [], color=style.FAINT, linestyle=dashes, linewidth=width, label=name)
    for name, (dashes, width) in keys.items()
  ]
  axes.legend(
    handles=lines,
    loc="lower left",
    bbox_to_anchor=(-0.02, 1),
    bbox_transform=axes.transAxes + ScaledTranslation(0, _ABOVE_TITLE, axes.figure.dpi_scale_trans),
    ncols=2,
    fontsize=9,
    borderpad=0,
    handlelength=2.2,
  )


def add_kind_legend(axes: Axes, drawn: Sequence[Network], width: float = 1.8) -> None:
  """Explains the line styles of plain and residual networks, if both are drawn."""
  kinds = {net.kind for net in drawn}
  keys = {"residual": (SOLID, width), "plain": (DASHED, width)}
  if len(kinds) > 1:
    add_line_legend(axes, {kind: keys[kind] for kind in keys if kind in kinds})
