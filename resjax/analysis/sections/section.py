"""Structure of a section of the report, and functions that several sections share."""

import dataclasses
import html
import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from matplotlib.ticker import MaxNLocator

from resjax.analysis import plotting, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import Panel

_INTEGER_AXES = ("count", "length")  # columns whose axis has ticks at integers only


@dataclasses.dataclass(frozen=True)
class Column:
  """Column of a table.

  Attributes:
    title: Heading.
    small: Second line of the heading, in small print.
    number: Whether the column contains numbers, which are right-aligned.
  """

  title: str
  small: str = ""
  number: bool = True


@dataclasses.dataclass(frozen=True)
class Table:
  """A table of the report, whose first column names the row.

  Attributes:
    caption: Description of the table, with units.
    columns: Headings of the columns.
    rows: Cells of each row, formatted as text.
    notes: Footnotes, numbered from 1 in this order; `footnotes` returns the marks.
    folded: Whether the table is collapsed at first.
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
    findings: Findings, one sentence each.
    headlines: Findings that are shown at the top of the page.
    caption: Explanation of the figures.
    panels: Figures.
    tables: Tables, shown below the figures.
    data: Data of figures and tables, by the name of the CSV file.
    commands: Commands that wrote the records.
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
    """Returns findings and figures as HTML for a notebook; the data of the tables are in `data`."""
    findings = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.findings)
    figures = "".join(panel.svg[panel.svg.index("<svg") :] for panel in self.panels)
    return f"{findings}{figures}<p><small>{html.escape(self.caption)}</small></p>"


def footnotes(reasons: Sequence[Sequence[str]]) -> tuple[list[str], tuple[str, ...]]:
  """Turns the reasons of each row of a table into numbered footnotes.

  Args:
    reasons: Reasons of each row.

  Returns:
    Marks of each row ("¹ ³", or ""), and the distinct reasons in the order of their numbers.
  """
  notes = tuple(dict.fromkeys(reason for row in reasons for reason in row))
  superscripts = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
  marks = [" ".join(str(notes.index(reason) + 1).translate(superscripts) for reason in row) for row in reasons]
  return marks, notes


def run_commands(logs: Logs) -> tuple[str, ...]:
  """Returns the distinct commands that trained the runs, without the index of a run (`--index`)."""
  return tuple(logs.runs["command"].dropna().map(lambda command: re.sub(r" --index[= ]\d+", "", command)).unique())


def study_commands(logs: Logs, study: str) -> tuple[str, ...]:
  """Returns the distinct commands of a study.

  Args:
    logs: Logs of one experiment.
    study: Subcommand of `resjax.study`.
  """
  commands = logs.studies["commands"]
  return tuple(commands.loc[commands["study"] == study, "command"].unique())


def plotted_networks(logs: Logs, frame: pd.DataFrame) -> list[Network]:
  """Returns the networks that occur in the column net of a frame, plain before residual and shallow before deep."""
  measured = set(frame["net"])
  return [net for net in logs.networks if net.key in measured]


def join_words(words: Iterable[str]) -> str:
  """Returns a list in words, such as "a, b and c"; "" if there are none."""
  *first, last = list(words) or [""]
  return f"{', '.join(first)} and {last}" if first else last


def percentage_points(difference: float, digits: int = 1) -> str:
  """Formats the absolute difference of two errors in percentage points: 0.021 is "2.1 points"."""
  return f"{abs(100 * difference):.{digits}f} points"


@dataclasses.dataclass(frozen=True)
class LineOptions:
  """Options of `line_panel`.

  Attributes:
    scale: Factor of the values, such as 100 for percent.
    log: Whether the vertical axis is logarithmic.
    marker: Matplotlib's marker of the points.
    baselines: Values of thin dotted horizontal lines, by network key.
    references: Dotted reference curves (x values, y values), by network key.
  """

  scale: float = 1
  log: bool = False
  marker: str | None = None
  baselines: Mapping[str, float] = dataclasses.field(default_factory=dict)
  references: Mapping[str, tuple[list[float], list[float]]] = dataclasses.field(default_factory=dict)


def line_panel(
  logs: Logs, curves: pd.DataFrame, x: str, labels: tuple[str, str, str, str], options: LineOptions = LineOptions()
) -> Panel:
  """Draws a panel with one curve per network, dashed for plain networks, with the range over seeds as a band.

  Args:
    logs: Logs of one experiment.
    curves: Columns net, mean, low, high, runs, and the column `x`.
    x: Column for the horizontal axis.
    labels: File name of the panel, its title, and the labels of the horizontal and the vertical axis.
    options: Options of the drawing.
  """
  networks, colors = plotted_networks(logs, curves), plotting.network_colors(logs.networks)
  (name, title, x_label, y_label), scale, dotted = labels, options.scale, (0, (1, 2))
  with style.panel() as (figure, axes):
    ends = []
    for net in networks:
      curve, color = plotting.network_curve(curves, net), colors[net.key]
      plotting.draw_curve(axes, curve, x, plotting.Line(color, 1.8, plotting.line_style(net), options.marker), scale)
      if net.key in options.baselines:
        axes.axhline(scale * options.baselines[net.key], color=color, linewidth=0.8, linestyle=dotted)
      if net.key in options.references:
        axes.plot(*options.references[net.key], color=color, linewidth=1.2, linestyle=dotted)
      ends.append((scale * curve["mean"][-1], net.label, color))
    if options.log:
      plotting.log_scale(axes, "y")
    if x in _INTEGER_AXES:
      axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title)
    plotting.add_kind_legend(axes, networks)
    style.label_line_ends(axes, ends)
    names = join_words(net.label for net in networks)
    return Panel(name, style.to_svg(figure), f"{title}: {y_label} against {x_label} for {names}.")
