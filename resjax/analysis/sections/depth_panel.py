"""A panel of a quantity against depth, on logarithmic axes, with fitted power laws."""

import pandas as pd

from resjax.analysis import plotting, style
from resjax.analysis.logs import Logs
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import plotted_networks


def depth_panel(
  logs: Logs,
  measured: pd.DataFrame,
  value: str,
  fitted: pd.DataFrame,
  words: tuple[str, str, str],
  scale: float = 1,
) -> Panel:
  """Draws a point for each run and a line for each fitted power law.

  Args:
    logs: Logs of the experiment.
    measured: Columns net, kind, depth, `value`; one row per run.
    value: Column to draw.
    fitted: Columns kind, exponent, coefficient; one row per line.
    words: File name of the panel, title, and label of the vertical axis.
    scale: Factor of the values, 100 for percent.
  """
  color = plotting.network_colors(logs.networks)
  measured = measured[(measured[value] > 0) & measured["depth"].notna()]
  name, title, label = words
  with style.panel() as (figure, axes):
    for net in plotted_networks(logs, measured):
      own = measured[measured["net"] == net.key]
      filled = color[net.key] if net.kind != "plain" else "none"
      heights = list(scale * own[value])
      axes.plot(own["depth"], heights, "o", color=color[net.key], markerfacecolor=filled, markersize=6)
    for row in fitted.to_dict("records"):
      ends = [float(measured["depth"].min()), float(measured["depth"].max())]
      heights = [scale * row["coefficient"] * depth ** row["exponent"] for depth in ends]
      dashes = plotting.DASHED if row["kind"] == "plain" else plotting.SOLID
      axes.plot(ends, heights, color=style.FAINT, linewidth=1.2, linestyle=dashes)
    axes.set_xscale("log")
    plotting.log_scale(axes, "y")
    depths = sorted(measured["depth"].unique())
    axes.set_xticks([float(depth) for depth in depths], [str(depth) for depth in depths])
    axes.minorticks_off()
    axes.set_xlabel("depth")
    axes.set_ylabel(label)
    axes.set_title(title)
    keys = {"residual": ("residual, filled", plotting.SOLID), "plain": ("plain, open", plotting.DASHED)}
    there = set(measured["kind"])
    if len(there) > 1:
      plotting.add_line_legend(axes, {said: (dashes, 1.2) for kind, (said, dashes) in keys.items() if kind in there})
    description = f"{title}: {label} against depth, one point per run, with fitted power laws."
    return Panel(name, style.to_svg(figure), description)
