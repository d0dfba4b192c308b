"""A panel of something against depth, on logarithmic axes, with the powers that were fitted to it."""

import pandas as pd

from resjax.analysis import plotting, style
from resjax.analysis.logs import Logs
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import network_colors, plotted_networks


def depth_panel(
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
  color = network_colors(logs)
  measured = measured[(measured[value] > 0) & measured["depth"].notna()]
  title, label = words
  with style.panel() as (figure, axes):
    for net in plotted_networks(logs, measured):
      own = measured[measured["net"] == net.key]
      filled = color[net.series] if net.kind != "plain" else "none"
      heights = list(scale * own[value])
      axes.plot(own["depth"], heights, "o", color=color[net.series], markerfacecolor=filled, markersize=6)
    for row in fitted.to_dict("records"):
      ends = [float(measured["depth"].min()), float(measured["depth"].max())]
      heights = [scale * row["at_one"] * depth ** row["exponent"] for depth in ends]
      dashes = plotting.LINE_STYLES.get(row["kind"], plotting.SOLID)
      axes.plot(ends, heights, color=style.FAINT, linewidth=1.2, linestyle=dashes)
    axes.set_xscale("log")
    plotting.log_scale(axes, scale * measured[value])
    depths = sorted(measured["depth"].unique())
    axes.set_xticks([float(depth) for depth in depths], [str(depth) for depth in depths])
    axes.minorticks_off()
    axes.set_xlabel("depth")
    axes.set_ylabel(label)
    axes.set_title(title)
    keys = {"residual": ("residual, filled", plotting.SOLID), "plain": ("plain, open", plotting.DASHED)}
    there = set(measured["kind"])
    plotting.add_line_legend(axes, {said: (dashes, 1.2) for kind, (said, dashes) in keys.items() if kind in there})
    description = f"{title}: {label} against depth, a point a run, with fitted powers of the depth."
    return Panel(name, style.to_svg(figure), description)
