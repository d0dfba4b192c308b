"""What a section of the report is made of, and the words several of them use."""

import dataclasses
import html
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from resjax.analysis import plotting, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network, label_networks, series_order
from resjax.analysis.plotting import Panel

_COUNTS = ("count", "length")  # axes on which only whole numbers mean something


@dataclasses.dataclass(frozen=True)
class Column:
  """A column of a table: its heading, a second line in small print, and whether it holds numbers."""

  title: str
  small: str = ""
  number: bool = True


@dataclasses.dataclass(frozen=True)
class Table:
  """A table as the page shows it; the first column names the row."""

  caption: str
  columns: tuple[Column, ...]
  rows: list[list[str]]


@dataclasses.dataclass(frozen=True)
class Section:
  """One section of the report.

  Attributes:
    key: unique in the page.
    title: its heading.
    says: what is seen, a sentence each.
    caption: how to read the figures.
    panels: the figures, drawn side by side.
    tables: shown after the figures.
    data: the frames behind figures and tables, by the name of their CSV file.
    commands: what made the records it is drawn from.
  """

  key: str
  title: str
  findings: tuple[str, ...]
  caption: str = ""
  panels: tuple[Panel, ...] = ()
  tables: tuple[Table, ...] = ()
  data: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
  commands: tuple[str, ...] = ()

  def _repr_html_(self) -> str:
    """A notebook shows what it says, and its figures; its tables are in `data`."""
    words = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.findings)
    drawn = "".join(panel.svg[panel.svg.index("<svg") :] for panel in self.panels)
    return f"{words}{drawn}<p><small>{html.escape(self.caption)}</small></p>"


def run_commands(logs: Logs) -> tuple[str, ...]:
  """The commands that trained the runs, each once; of those that name one run by its index, the one for all."""
  return tuple(logs.runs["command"].dropna().map(lambda command: re.sub(r" --index[= ]\d+", "", command)).unique())


def study_commands(logs: Logs, study: str) -> tuple[str, ...]:
  """The commands that made a study (a subcommand of `resjax.study`) of these nets, each once."""
  made = logs.studies["commands"]
  return tuple(made.loc[made["study"] == study, "command"].unique())


def network_colors(logs: Logs) -> dict[str, str]:
  """The colour of each series, the same in every figure of a page."""
  return style.series_colors(series_order(label_networks(logs.runs)))


def plotted_networks(logs: Logs, frame: pd.DataFrame) -> list[Network]:
  """The nets that have lines in `frame`, in reading order."""
  measured = set(frame["net"])
  return [net for net in label_networks(logs.runs) if net.key in measured]


def join_words(words: Iterable[str]) -> str:
  """Words as a sentence lists them: "a, b and c"."""
  every = list(words)
  return every[0] if len(every) == 1 else f"{', '.join(every[:-1])} and {every[-1]}" if every else ""


def percentage_points(difference: float, digits: int = 1) -> str:
  """The size of a difference of two errors: 0.021 is "2.1 points"."""
  return f"{abs(100 * difference):.{digits}f} points"


def line_panel(
  logs: Logs, curves: pd.DataFrame, x: str, name: str, title: str, labels: tuple[str, str], **how: Any
) -> Panel:
  """A panel with one curve a net over `x`, plain nets dashed, seeds as a band.

  Args:
    logs: the runs.
    curves: net, `x`, mean, low, high, runs.
    x: the column along the axis.
    name: of the panel's file.
    title: above the axes.
    labels: of the two axes.
    **how: `scale` of the heights (100 for percent), `log` for a logarithmic height, `base` for {net: height} drawn as
      a thin line, `marker`.
  """
  drawn, color = plotted_networks(logs, curves), network_colors(logs)
  scale = how.get("scale", 1)
  with style.panel() as (figure, axes):
    ends = []
    for net in drawn:
      curve = plotting.network_curve(curves, net)
      shade = color[net.series]
      plotting.draw_curve(axes, curve, x, shade, 1.8, plotting.line_style(net), scale, how.get("marker"))
      if net.key in how.get("base", {}):
        axes.axhline(scale * how["base"][net.key], color=shade, linewidth=0.8, linestyle=(0, (1, 2)))
      ends.append((scale * curve["mean"][-1], net.label, shade))
    if how.get("log"):
      plotting.log_scale(axes, curves["mean"][curves["mean"] > 0] * scale)
    if x in _COUNTS:
      axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_title(title)
    plotting.add_kind_legend(axes, drawn)
    style.label_line_ends(axes, ends)
    names = join_words(net.label for net in drawn)
    return Panel(name, style.to_svg(figure), f"{title}: {labels[1]} against {labels[0]} for {names}.")
