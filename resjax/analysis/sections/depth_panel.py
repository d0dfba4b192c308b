"""Panel of a quantity against depth on logarithmic axes, with fitted power laws."""

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
  labels: tuple[str, str, str],
  scale: float = 1,
) -> Panel:
  """Draws a point for each run and a line for each fitted power law.

  Args:
    logs: Logs of the experiment.
    measured: Columns net, kind, depth, `value`; one row per run.
    value: Column to draw.
    fitted: Columns kind, exponent, coefficient; one row per line.
    labels: File name of the panel, title, and label of the vertical axis.
    scale: Factor of the values, such as 100 for percent.
  """
  colors = plotting.network_colors(logs.networks)
  measured = measured[(measured[value] > 0) & measured["depth"].notna()]
  name, title, label = labels
  with style.panel() as (figure, axes):
    for net in plotted_networks(logs, measured):
      runs = measured[measured["net"] == net.key]
      filled = colors[net.key] if net.kind != "plain" else "none"
      heights = list(scale * runs[value])
      axes.plot(runs["depth"], heights, "o", color=colors[net.key], markerfacecolor=filled, markersize=6)
    for row in fitted.to_dict("records"):
      ends = [float(measured["depth"].min()), float(measured["depth"].max())]
      heights = [scale * row["coefficient"] * depth ** row["exponent"] for depth in ends]
      dashes = plotting.DASHED if row["kind"] == "plain" else plotting.SOLID
      axes.plot(ends, heights, color=style.FAINT, linewidth=1.2, linestyle=dashes)
    plotting.log_scale(axes, "y")
    plotting.log_integer_axis(axes, measured["depth"], "depth")
    axes.set_ylabel(label)
    axes.set_title(title)
    keys = {"residual": ("residual, filled", plotting.SOLID), "plain": ("plain, open", plotting.DASHED)}
    kinds = set(measured["kind"])
    if len(kinds) > 1:
      plotting.add_line_legend(axes, {entry: (dashes, 1.2) for kind, (entry, dashes) in keys.items() if kind in kinds})
    description = f"{title}: {label} against depth, one point per run, with fitted power laws."
    return Panel(name, style.to_svg(figure), description)
