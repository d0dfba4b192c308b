"""A panel of something against depth, on logarithmic axes, with the powers that were fitted to it."""

import pandas as pd

from resjax.analysis import drawing, style
from resjax.analysis.drawing import Panel
from resjax.analysis.frames import Logs
from resjax.analysis.sections.section import colors, drawn_nets


def by_depth(
  logs: Logs,
  measured: pd.DataFrame,
  value: str,
  fitted: pd.DataFrame,
  name: str,
  words: tuple[str, str],
  scale: float = 1,
) -> Panel:
  """Draws a point a run, and a line for each fitted power.

  Args:
    logs: the runs.
    measured: net, kind, depth, `value`; one row a run.
    value: the column that is drawn.
    fitted: kind, exponent, at_one: of each line.
    name: of the panel's file.
    words: the title, and the name of what is drawn at the axis.
    scale: of the heights, 100 for percent.
  """
  color = colors(logs)
  measured = measured[(measured[value] > 0) & measured["depth"].notna()]
  title, label = words
  with style.panel() as (figure, axes):
    for net in drawn_nets(logs, measured):
      own = measured[measured["net"] == net.key]
      filled = color[net.series] if net.kind != "plain" else "none"
      heights = list(scale * own[value])
      axes.plot(own["depth"], heights, "o", color=color[net.series], markerfacecolor=filled, markersize=6)
    for row in fitted.to_dict("records"):
      ends = [float(measured["depth"].min()), float(measured["depth"].max())]
      heights = [scale * row["at_one"] * depth ** row["exponent"] for depth in ends]
      dashes = drawing.LINES.get(row["kind"], drawing.SOLID)
      axes.plot(ends, heights, color=style.FAINT, linewidth=1.2, linestyle=dashes)
    axes.set_xscale("log")
    drawing.log_scale(axes, scale * measured[value])
    depths = sorted(measured["depth"].unique())
    axes.set_xticks([float(depth) for depth in depths], [str(depth) for depth in depths])
    axes.minorticks_off()
    axes.set_xlabel("depth")
    axes.set_ylabel(label)
    axes.set_title(title)
    keys = {"residual": ("residual, filled", drawing.SOLID), "plain": ("plain, open", drawing.DASHED)}
    there = set(measured["kind"])
    drawing.line_key(axes, {said: (dashes, 1.2) for kind, (said, dashes) in keys.items() if kind in there})
    description = f"{title}: {label} against depth, a point a run, with fitted powers of the depth."
    return Panel(name, style.to_svg(figure), description)
