"""Fig. 7 through training: for each net a heat map of step by layer, and curves at chosen steps."""

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from resjax.analysis import formats, plotting, response_history, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import Section, join_words, plotted_networks, run_commands

# Colours reach so far above and below the median: one net that explodes would leave the others one colour.
_REACH = 30


def build(logs: Logs) -> Section | None:
  """None where no net was captured at two steps or more."""
  curves = response_history.history(logs)
  several = curves.groupby("net")["step"].transform("nunique") > 1
  curves = curves[several]
  if curves.empty:
    return None
  drawn = plotted_networks(logs, curves)
  return Section(
    key="atlas",
    title="Responses through training",
    findings=tuple(sentence for net in drawn if (sentence := _said(net, curves[curves["net"] == net.key]))),
    caption="Left of each pair a column a capture, from the input layer at the bottom to the output; one scale of "
    "colours for all nets. Right the same at chosen steps, the first faint, the last strong. At step 0 the running "
    "statistics are still those of the start, mean 0 and variance 1: layers that use them are not normalised there.",
    panels=tuple(panels(curves, drawn, "response", "response", curves["mean"])),
    data={"responses_through_training": curves},
    commands=run_commands(logs),
  )


def panels(curves: pd.DataFrame, drawn: list[Network], name: str, value: str, scaled: pd.Series) -> list[Panel]:
  """A heat map and a panel of curves for each net.

  Args:
    curves: of layers, for several steps, as `curves.layer_curves` returns them.
    drawn: the nets.
    name: begins the panels' names.
    value: what is measured, in a word or two.
    scaled: all values that share the scale of colours.
  """
  positive = scaled[scaled > 0]
  middle = float(positive.median())
  low = max(float(positive.quantile(0.005)), middle / _REACH)
  norm = LogNorm(low, max(min(float(positive.quantile(0.995)), middle * _REACH), low * 1.01))
  found = []
  for net in drawn:
    own = plotting.downsample(curves[curves["net"] == net.key], ["net", "step"])
    found += [
      _heat_map(net, own, f"{name}-map-{net.key}", value, norm),
      _at_steps(net, own, f"{name}-{net.key}", value),
    ]
  return found


def _heat_map(net: Network, own: pd.DataFrame, name: str, value: str, norm: LogNorm) -> Panel:
  cells = own.pivot_table(index="position", columns="step", values="mean", dropna=False)
  steps = [int(step) for step in cells.columns]
  rank = [float(number) for number in range(len(steps))]
  with style.panel() as (figure, axes):
    y = plotting.cell_edges([float(position) for position in cells.index])
    numbers = cells.to_numpy("float64")
    # A column a capture, whatever the steps between: the first steps matter most and are the closest together.
    plotting.heat_map(figure, axes, plotting.cell_edges(rank), y, np.where(numbers > 0, numbers, np.nan), norm, value)
    shown = response_history.evenly_spaced_steps(list(range(len(steps))), 6)
    axes.set_xticks(shown, [formats.count(steps[index]) for index in shown])
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("step")
    axes.set_ylabel("layer")
    axes.set_title(net.label)
    description = (
      f"{net.label}: {value} of each layer, input at the bottom, at {len(steps)} steps from {steps[0]} to {steps[-1]}, "
      "as colours."
    )
    return Panel(name, style.to_svg(figure), description)


def _at_steps(net: Network, own: pd.DataFrame, name: str, value: str) -> Panel:
  steps = response_history.evenly_spaced_steps([int(step) for step in own["step"]], len(style.SERIES_LIGHT))
  color = dict(zip(steps, style.SERIES_LIGHT[-len(steps) :], strict=True))
  with style.panel() as (figure, axes):
    ends = []
    for step in steps:
      curve = own[own["step"] == step]
      axes.plot(curve["position"], curve["mean"], color=color[step], linewidth=1.6)
      if (curve["runs"] > 1).any():
        axes.fill_between(curve["position"].astype(float), curve["low"], curve["high"], color=color[step], alpha=0.15)
      ends.append((float(curve["mean"].iloc[-1]), formats.count(step), color[step]))
    plotting.log_scale_if_wide(axes, own.assign(net=own["step"]))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("layer")
    axes.set_ylabel(value)
    axes.set_title(f"{net.label} at steps")
    style.label_line_ends(axes, ends)
    description = f"{net.label}: {value} of each layer at steps {join_words(str(step) for step in steps)}."
    return Panel(name, style.to_svg(figure), description)


def _said(net: Network, own: pd.DataFrame) -> str:
  typical = own.groupby("step")["mean"].median()
  first, last = typical.index[0], typical.index[-1]
  return (
    f"{net.label}: the median layer’s response goes from {typical.iloc[0]:.3g} at step {formats.count(first)} to "
    f"{typical.iloc[-1]:.3g} at step {formats.count(last)}."
  )
