"""What a section of the report is made of, and the words several of them use."""

import dataclasses
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.ticker import MaxNLocator

from resjax.analysis import plotting, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
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
  """A table of the page; the first column names the row.

  Attributes:
    caption: Description of the rows and their unit.
    columns: The headings.
    rows: One text for each column.
    notes: Footnotes, numbered from 1 in this order (`footnotes` makes the marks).
    folded: Whether a reader has to open the table.
  """

  caption: str
  columns: tuple[Column, ...]
  rows: list[list[str]]
  notes: tuple[str, ...] = ()
  folded: bool = False


@dataclasses.dataclass(frozen=True)
class Section:
  """One section of the report.

  Attributes:
    key: Identifier, unique in the page.
    title: Heading.
    findings: One sentence for each finding.
    headlines: The findings that open the page.
    caption: How to read the figures.
    panels: Figures, side by side where there is room.
    tables: Tables, below the figures.
    data: Frames behind figures and tables, by the name of their CSV file.
    commands: Commands that made the records.
  """

  key: str
  title: str
  findings: tuple[str, ...]
  headlines: tuple[str, ...] = ()
  caption: str = ""
  panels: tuple[Panel, ...] = ()
  tables: tuple[Table, ...] = ()
  data: Mapping[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
  commands: tuple[str, ...] = ()

  def _repr_html_(self) -> str:
    """Shows findings and figures in a notebook; the tables are in `data`."""
    words = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.findings)
    drawn = "".join(panel.svg[panel.svg.index("<svg") :] for panel in self.panels)
    return f"{words}{drawn}<p><small>{html.escape(self.caption)}</small></p>"


def footnotes(reasons: Sequence[Sequence[str]]) -> tuple[list[str], tuple[str, ...]]:
  """Numbers distinct reasons so that a table can refer to them.

  Args:
    reasons: The reasons of each row.

  Returns:
    The marks of each row ("¹ ³", or ""), and the distinct reasons in the order of their numbers.
  """
  notes = tuple(dict.fromkeys(reason for row in reasons for reason in row))
  superscripts = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
  marks = [" ".join(str(notes.index(reason) + 1).translate(superscripts) for reason in row) for row in reasons]
  return marks, notes


def run_commands(logs: Logs) -> tuple[str, ...]:
  """The commands that trained the runs, each once; of those that name one run by its index, the one for all."""
  return tuple(logs.runs["command"].dropna().map(lambda command: re.sub(r" --index[= ]\d+", "", command)).unique())


def study_commands(logs: Logs, study: str) -> tuple[str, ...]:
  """The commands that made a study (a subcommand of `resjax.study`) of these nets, each once."""
  made = logs.studies["commands"]
  return tuple(made.loc[made["study"] == study, "command"].unique())


def plotted_networks(logs: Logs, frame: pd.DataFrame) -> list[Network]:
  """The nets that have lines in `frame`, in reading order."""
  measured = set(frame["net"])
  return [net for net in logs.networks if net.key in measured]


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
    logs: Records of the runs.
    curves: Columns `net`, the column `x`, `mean`, `low`, `high` and `runs`.
    x: Column for the horizontal axis.
    name: File name of the panel.
    title: Title above the axes.
    labels: Labels of the two axes.
    **how: Options. `scale`: factor of the heights (100 for percent). `log`: whether the vertical axis is logarithmic.
      `base`: heights of thin horizontal lines, by network. `beside`: dotted reference lines, (x values, y values) by
      network. `marker`: Matplotlib's marker of the points.
  """
  drawn, color = plotted_networks(logs, curves), plotting.network_colors(logs.networks)
  scale = how.get("scale", 1)
  with style.panel() as (figure, axes):
    ends = []
    for net in drawn:
      curve = plotting.network_curve(curves, net)
      shade = color[net.key]
      line = plotting.Line(shade, 1.8, plotting.line_style(net), how.get("marker"))
      plotting.draw_curve(axes, curve, x, line, scale)
      if net.key in how.get("base", {}):
        axes.axhline(scale * how["base"][net.key], color=shade, linewidth=0.8, linestyle=(0, (1, 2)))
      if net.key in how.get("beside", {}):
        axes.plot(*how["beside"][net.key], color=shade, linewidth=1.2, linestyle=(0, (1, 2)))
      ends.append((scale * curve["mean"][-1], net.label, shade))
    if how.get("log"):
      plotting.log_scale(axes, "y")
    if x in _COUNTS:
      axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.set_title(title)
    plotting.add_kind_legend(axes, drawn)
    style.label_line_ends(axes, ends)
    names = join_words(net.label for net in drawn)
    return Panel(name, style.to_svg(figure), f"{title}: {labels[1]} against {labels[0]} for {names}.")
