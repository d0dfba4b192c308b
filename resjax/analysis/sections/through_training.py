"""Fig. 7 over training: for each network a heat map over step and layer, and curves at selected steps."""

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from resjax.analysis import formats, plotting, response_history, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import Section, join_words, plotted_networks, run_commands

# The color scale ends at the median times or divided by this, so that one diverging network does not hide the others.
_MAX_RATIO = 30


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no network has responses from two or more steps."""
  curves = response_history.history(logs)
  several = curves.groupby("net")["step"].transform("nunique") > 1
  curves = curves[several]
  if curves.empty:
    return None
  drawn = plotted_networks(logs, curves)
  return Section(
    key="history",
    title="Responses over training",
    findings=tuple(sentence for net in drawn if (sentence := _sentence(net, curves[curves["net"] == net.key]))),
    caption="Left: one column per recorded step, input layer at the bottom; all networks share one color scale. "
    "Right: the same at selected steps. At step 0 the running statistics are still mean 0 and variance 1, so layers "
    "that use them are not normalized.",
    panels=tuple(panels(curves, drawn, "response", "response", curves["mean"])),
    data={"responses_through_training": curves},
    commands=run_commands(logs),
  )


def panels(curves: pd.DataFrame, drawn: list[Network], name: str, value: str, scaled: pd.Series) -> list[Panel]:
  """Draws a heat map and a panel of curves for each network.

  Args:
    curves: Curves over layers at several steps, as returned by `curves.layer_curves`.
    drawn: Networks to draw.
    name: Prefix of the panel names.
    value: Name of the quantity, for axes and descriptions.
    scaled: All values that share the color scale.
  """
  positive = scaled[scaled > 0]
  middle = float(positive.median())
  low = max(float(positive.quantile(0.005)), middle / _MAX_RATIO)
  norm = LogNorm(low, max(min(float(positive.quantile(0.995)), middle * _MAX_RATIO), low * 1.01))
  result = []
  for net in drawn:
    of_net = plotting.downsample(curves[curves["net"] == net.key], ["net", "step"])
    result += [
      _heat_map(net, of_net, f"{name}-map-{net.key}", value, norm),
      _at_steps(net, of_net, f"{name}-{net.key}", value),
    ]
  return result


def _heat_map(net: Network, curves: pd.DataFrame, name: str, value: str, norm: LogNorm) -> Panel:
  cells = curves.pivot_table(index="position", columns="step", values="mean", dropna=False)
  steps = [int(step) for step in cells.columns]
  ranks = [float(rank) for rank in range(len(steps))]
  with style.panel() as (figure, axes):
    y = plotting.cell_edges([float(position) for position in cells.index])
    numbers = cells.to_numpy("float64")
    # Columns have equal width, because the first steps are close together and most important.
    plotting.heat_map(axes, plotting.cell_edges(ranks), y, np.where(numbers > 0, numbers, np.nan), norm, value)
    labelled = response_history.evenly_spaced_steps(list(range(len(steps))), 6)
    axes.set_xticks(labelled, [formats.count(steps[index]) for index in labelled])
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel("layer")
    axes.set_title(net.label)
    description = (
      f"{net.label}: {value} of each layer, input at the bottom, at {len(steps)} steps from {steps[0]} to {steps[-1]}, "
      "as colors."
    )
    return Panel(name, style.to_svg(figure), description)


def _at_steps(net: Network, curves: pd.DataFrame, name: str, value: str) -> Panel:
  steps = response_history.evenly_spaced_steps([int(step) for step in curves["step"]], len(style.SERIES_LIGHT))
  color = dict(zip(steps, style.SERIES_LIGHT[-len(steps) :], strict=True))
  with style.panel() as (figure, axes):
    ends = []
    for step in steps:
      curve = curves[curves["step"] == step]
      axes.plot(curve["position"], curve["mean"], color=color[step], linewidth=1.6)
      if (curve["runs"] > 1).any():
        axes.fill_between(curve["position"].astype(float), curve["low"], curve["high"], color=color[step], alpha=0.15)
      ends.append((float(curve["mean"].iloc[-1]), formats.count(step), color[step]))
    plotting.log_scale_if_wide(axes, curves.assign(net=curves["step"]))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("layer")
    axes.set_ylabel(value)
    axes.set_title(f"{net.label} at steps")
    style.label_line_ends(axes, ends)
    description = f"{net.label}: {value} of each layer at steps {join_words(str(step) for step in steps)}."
    return Panel(name, style.to_svg(figure), description)


def _sentence(net: Network, curves: pd.DataFrame) -> str:
  medians = curves.groupby("step")["mean"].median()
  first, last = medians.index[0], medians.index[-1]
  return (
    f"{net.label}: the median response over the layers changes from {formats.figures(medians.iloc[0])} at step "
    f"{formats.count(first)} to {formats.figures(medians.iloc[-1])} at step {formats.count(last)}."
  )
