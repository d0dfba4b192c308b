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
_LEGEND_OFFSET = 0.25  # inches from the top of the axes to a legend above the title
# Curves with more points are reduced to means of neighboring layers, with their range as a band.
MAX_POINTS = 200
# Above this ratio of the largest value to the lowest median of a network, the vertical axis is logarithmic.
_MAX_LINEAR_RATIO = 10


@dataclasses.dataclass(frozen=True)
class Panel:
  """One figure.

  Attributes:
    name: File name without suffix, unique in the report.
    svg: The figure as a standalone SVG file.
    description: Description for readers who cannot see the figure.
  """

  name: str
  svg: str
  description: str

  def _repr_svg_(self) -> str:
    """Returns the SVG for a notebook."""
    return self.svg


def network_colors(networks: Iterable[Network]) -> dict[str, str]:
  """Returns the color of each network by its key: one per series, the same in every figure of an experiment."""
  networks = list(networks)
  by_series = style.series_colors(series_order(networks))
  return {net.key: by_series[net.series] for net in networks}


def line_style(net: Network) -> Any:
  """Returns the line style of a network's curves, as Matplotlib's `linestyle`, the same in every figure."""
  styles = _PLAIN_STYLES if net.kind == "plain" else _OTHER_STYLES
  return styles[net.variant % len(styles)]


def network_curve(curves: pd.DataFrame, net: Network) -> dict[str, list[float]]:
  """Returns the numeric columns of a network's curve as lists by name; {} if it has no curve."""
  curve = curves[curves["net"] == net.key]
  numbers = ("step", "position", "count", "length", "tau", "mean", "low", "high", "runs")
  columns = [name for name in numbers if name in curve]
  return {name: curve[name].astype("float64").tolist() for name in columns} if len(curve) else {}


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
  """Draws a curve: the mean as a line and, if there are several seeds, their range as a band.

  Args:
    axes: Axes to draw on.
    curve: Columns of the curve, the result of `network_curve`.
    x: Column of the horizontal axis.
    line: Style of the line.
    scale: Factor of the values, such as 100 for percent.
  """
  mean, low, high = ([scale * value for value in curve[key]] for key in ("mean", "low", "high"))
  marker = "." if len(mean) == 1 else line.marker  # a line through a single point is invisible
  axes.plot(curve[x], mean, color=line.color, linewidth=line.width, linestyle=line.dashes, marker=marker, markersize=4)
  if max(curve["runs"]) > 1:
    axes.fill_between(curve[x], low, high, color=line.color, alpha=0.18, linewidth=0)


def downsample(curves: pd.DataFrame, by: str | list[str] = "net") -> pd.DataFrame:
  """Reduces curves to at most `MAX_POINTS` points by averaging neighboring layers.

  Args:
    curves: Columns position, layers, mean, low, high, runs, and those of `by`, sorted by position.
    by: Columns that identify a curve.

  Returns:
    The same columns; low and high are the range over seeds and neighbors.
  """
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
  """Makes the vertical axis logarithmic if the values span an order of magnitude, else linear from zero."""
  drawn = curves[curves["mean"] > 0]
  typical = drawn.groupby("net")["mean"].median()
  if drawn["mean"].max() > _MAX_LINEAR_RATIO * typical.min():
    log_scale(axes, "y")
  else:
    axes.set_ylim(bottom=0)


def log_scale(axes: Axes, name: Literal["x", "y"], label: Callable[[float], str] = "{:g}".format) -> None:
  """Makes an axis logarithmic, with at least three tick labels where possible. It has to be called after drawing.

  Args:
    axes: Axes with their curves.
    name: "x" or "y".
    label: Function that formats a tick.
  """
  getattr(axes, f"set_{name}scale")("log", nonpositive="mask")
  axis: Axis = getattr(axes, f"{name}axis")
  axis.set_major_locator(FixedLocator(log_ticks(*getattr(axes, f"get_{name}lim")())))
  axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
  axis.set_minor_locator(NullLocator())


def power_ticks(axes: Axes, name: Literal["x", "y"]) -> None:
  """Labels every second power of two of a logarithmic axis, such as "2^-4"."""
  axis: Axis = getattr(axes, f"{name}axis")
  low, high = (math.log2(limit) for limit in getattr(axes, f"get_{name}lim")())
  axis.set_major_locator(FixedLocator([2.0**power for power in range(math.ceil(low), math.floor(high) + 1, 2)]))
  axis.set_major_formatter(FuncFormatter(lambda value, _: f"2^{round(math.log2(value))}"))
  axis.set_minor_locator(NullLocator())


def log_integer_axis(axes: Axes, values: pd.Series, label: str) -> None:
  """Makes the horizontal axis logarithmic, with a tick at each distinct value.

  Args:
    axes: The axes.
    values: Integers, such as depths.
    label: Label of the axis.
  """
  distinct = sorted(values.unique())
  axes.set_xscale("log")
  axes.set_xticks([float(value) for value in distinct], [str(value) for value in distinct])
  axes.minorticks_off()
  axes.set_xlabel(label)


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
  """Chooses tick positions of a logarithmic axis: at least three where possible, at most `most`.

  Args:
    low: Lower limit, positive.
    high: Upper limit, above `low`.
    most: Maximum number of ticks.
  """
  exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  for mantissas in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
    ticks = [m * 10.0**e for e in exponents for m in mantissas if low <= m * 10.0**e <= high]
    if len(ticks) >= 3:
      return ticks[:: -(-len(ticks) // most)]
  return [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]


def limits(norm: Normalize) -> tuple[float, float]:
  """Returns the lower and upper limit of a norm that has both."""
  assert norm.vmin is not None
  assert norm.vmax is not None
  return norm.vmin, norm.vmax


def heat_map(axes: Axes, x: list[float], y: list[float], values: np.ndarray, norm: Normalize, label: str) -> None:
  """Draws a heat map, as a bitmap inside the SVG because vector cells would be a thousand times larger.

  Args:
    axes: Axes to draw on.
    x: Horizontal edges of the cells, [columns + 1].
    y: Vertical edges of the cells, [rows + 1].
    values: Values of the cells, float64 [rows, columns]; NaN is transparent.
    norm: Mapping from values to colors, which several heat maps can share.
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


def log_norm(values: pd.Series) -> LogNorm:
  """Returns a logarithmic color scale over the positive values, of which there must be at least one."""
  positive = values[values > 0]
  low = float(positive.min())
  return LogNorm(low, max(float(positive.max()), low * 1.01))


def loss_surface(axes: Axes, lines: pd.DataFrame, norm: LogNorm) -> None:
  """Draws the loss over a plane as a heat map, with contours if it is positive and finite everywhere.

  Args:
    axes: Axes to draw on.
    lines: Columns alpha and beta (coordinates on a grid) and loss.
    norm: Color scale, which several surfaces can share.
  """
  grid = lines.pivot_table(index="beta", columns="alpha", values="loss", aggfunc="last")
  losses = grid.to_numpy("float64")
  losses = np.where(losses > 0, losses, np.nan)
  x, y = ([float(value) for value in index] for index in (grid.columns, grid.index))
  heat_map(axes, cell_edges(x), cell_edges(y), losses, norm, "loss")
  if min(losses.shape) > 1 and np.isfinite(losses).all():
    axes.contour(x, y, losses, levels=np.geomspace(*limits(norm), 9)[1:-1], colors="white", linewidths=0.7)


def cell_edges(centers: list[float]) -> list[float]:
  """Returns the edges of cells, halfway between their centers; a single cell is one unit wide."""
  if len(centers) == 1:
    return [centers[0] - 0.5, centers[0] + 0.5]
  inner = [(a + b) / 2 for a, b in itertools.pairwise(centers)]
  return [2 * centers[0] - inner[0], *inner, 2 * centers[-1] - inner[-1]]


def format_step(value: float, _: int = 0) -> str:
  """Formats a step for an axis, such as 32000 as "32k"."""
  return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"


def add_line_legend(axes: Axes, keys: Mapping[str, tuple[Any, float]]) -> None:
  """Adds a legend of line styles above the axes.

  Args:
    axes: The axes.
    keys: Line style (dashes, width) by label.
  """
  lines = [
    Line2D([], [], color=style.FAINT, linestyle=dashes, linewidth=width, label=name)
    for name, (dashes, width) in keys.items()
  ]
  axes.legend(
    handles=lines,
    loc="lower left",
    bbox_to_anchor=(-0.02, 1),
    bbox_transform=axes.transAxes + ScaledTranslation(0, _LEGEND_OFFSET, axes.figure.dpi_scale_trans),
    ncols=2,
    fontsize=9,
    borderpad=0,
    handlelength=2.2,
  )


def add_kind_legend(axes: Axes, drawn: Sequence[Network], width: float = 1.8) -> None:
  """Adds a legend of the line styles of plain and residual networks, if both are drawn."""
  kinds = {net.kind for net in drawn}
  keys = {"residual": (SOLID, width), "plain": (DASHED, width)}
  if len(kinds) > 1:
    add_line_legend(axes, {kind: keys[kind] for kind in keys if kind in kinds})
