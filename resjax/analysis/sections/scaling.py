"""Scaling with depth: powers that errors, loss and responses follow, and the best depth for a training budget."""

import pandas as pd
from matplotlib.ticker import FuncFormatter, NullFormatter

from resjax.analysis import formats, plotting, scaling, seed_statistics, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import key_without_depth
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.depth_panel import depth_panel
from resjax.analysis.sections.section import (
  Column,
  Section,
  Table,
  network_colors,
  percentage_points,
  plotted_networks,
  run_commands,
)

_LAWS = (
  *(Column("nets", number=False), Column("measure", number=False), Column("against", number=False)),
  *(Column("depths"), Column("runs"), Column("exponent"), Column(f"{seed_statistics.LEVEL:.0%} interval")),
  *(Column("explained", "% of the variance"), Column("a law", number=False)),
)
_FRONTIER = (
  *(Column("best", number=False), Column("budget from", "multiply-adds"), Column("to"), Column("error", "% there")),
  *(Column("next best", number=False), Column("errs more by", "points"), Column("standard error", "by sampling")),
)
_DRAWN = {
  "test_error": (100, "Test error, by depth", "test error (%)"),
  "train_loss": (1, "Training loss, by depth", "training loss"),
}


def build(logs: Logs) -> Section | None:
  """None where there are too few depths for a power, and no two depths with learning curves."""
  measured = scaling.finished_runs(logs)
  laws, frontier, curves = scaling.power_laws(measured), scaling.frontier(logs), scaling.curves(logs)
  if laws.empty and frontier.empty:
    return None
  panels = []
  for measure, (scale, *words) in _DRAWN.items():
    of_depth = laws[(laws["measure"] == measure) & (laws["against"] == "depth")]
    if len(of_depth):
      name = f"scaling-{measure.replace('_', '-')}"
      panels.append(depth_panel(logs, measured, measure, of_depth, name, (words[0], words[1]), scale))
  for series in frontier["series"].unique():
    own = curves[curves["net"].map(key_without_depth) == series]
    panels.append(_frontier_panel(logs, own, frontier[frontier["series"] == series]))
  tables = []
  if len(laws):
    caption = f"Powers of depth, parameters and training; a law explains {scaling.MIN_R_SQUARED:.0%} of the variance."
    tables.append(Table(caption, _LAWS, [_law_row(row) for row in laws.to_dict("records")]))
  if len(frontier):
    caption = "The best depth for a budget of multiply-adds spent in training."
    tables.append(Table(caption, _FRONTIER, [_frontier_row(row) for row in frontier.to_dict("records")]))
  data = {"scaling": measured, "scaling_laws": laws, "frontier": frontier, "training_macs_curves": curves}
  return Section(
    key="scaling",
    title="Scaling with depth",
    findings=(*_laws_say(laws), *_frontier_says(frontier)),
    caption="Does a power of the depth describe what depth does, and which depth is worth its cost? The bold line is "
    f"the lowest error for a budget. A pass backward counts as two forward, so that training takes "
    f"{scaling.PASSES_PER_STEP} times the multiply-adds of its forward passes. A curve before its end "
    "is that of a longer schedule, whose rate has not dropped: trained for just that budget, the net would be better "
    "there, so the frontier compares these runs, not all there could be.",
    panels=tuple(panels),
    tables=tuple(tables),
    data={name: frame for name, frame in data.items() if len(frame)},
    commands=run_commands(logs),
  )


def _laws_say(laws: pd.DataFrame) -> tuple[str, ...]:
  """A sentence for each series and measure, against depth: the others are nearly proportional to it."""
  sentences = []
  for row in laws[laws["against"] == "depth"].to_dict("records"):
    what = f"{row['series']}: the {scaling.MEASURES[row['measure']]}"
    fitted = (
      f"{formats.number(row['exponent'])} ({seed_statistics.LEVEL:.0%} interval {formats.number(row['low'])} to "
      f"{formats.number(row['high'])}; {row['runs']} runs, "
      f"{formats.figures(100 * row['explained'])} % of the variance explained)"
    )
    if row["law"]:
      sentences.append(f"{what} goes as depth to the power {fitted}.")
    else:
      sentences.append(f"{what} follows no power of the depth: the closest has the exponent {fitted}.")
  return tuple(sentences)


def _frontier_says(frontier: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for _, stretches in frontier.groupby("series", sort=False):
    words = [
      f"{row['label']} from {macs(row['from_macs'])} to {macs(row['to_macs'])}" for row in stretches.to_dict("records")
    ]
    last = stretches.iloc[-1]
    close = last["difference"] <= scaling.MIN_STANDARD_ERRORS * last["sampling_error"]
    beside = f"{last['than_label']} errs {percentage_points(last['difference'])} more there"
    beside += ", which sampling of the test set explains" if close else ""
    sentences.append(f"Best for its multiply-adds in training: {', '.join(words)}; {beside}.")
  return tuple(sentences)


def macs(count: float) -> str:
  """Multiply-adds to two figures: 3.1e13 is "3.1e13"."""
  mantissa, exponent = f"{count:.1e}".split("e")
  return f"{mantissa}e{int(exponent)}"


def _law_row(row: dict) -> list[str]:
  return [
    *(row["series"], scaling.MEASURES[row["measure"]], scaling.PREDICTORS[row["against"]]),
    *(formats.count(row["depths"]), formats.count(row["runs"]), formats.number(row["exponent"])),
    f"{formats.number(row['low'])} to {formats.number(row['high'])}",
    *(formats.figures(100 * row["explained"]), "yes" if row["law"] else "no"),
  ]


def _frontier_row(row: dict) -> list[str]:
  return [
    *(row["label"], macs(row["from_macs"]), macs(row["to_macs"]), formats.percent(row["error"]), row["than_label"]),
    *(formats.signed(100 * row["difference"]), formats.percent(row["sampling_error"], before="± ")),
  ]


def _frontier_panel(logs: Logs, curves: pd.DataFrame, stretches: pd.DataFrame) -> Panel:
  drawn, color = plotted_networks(logs, curves), network_colors(logs)
  kind = drawn[0].kind
  with style.panel() as (figure, axes):
    ends = []
    for row in stretches.to_dict("records"):
      own = curves[curves["net"] == row["net"]]
      best = own[(own["training_macs"] >= row["from_macs"]) & (own["training_macs"] <= row["to_macs"])]
      axes.plot(best["training_macs"], 100 * best["mean"], color=style.RULE, linewidth=7, solid_capstyle="round")
    for net in drawn:
      own = curves[curves["net"] == net.key]
      shade = color[net.series]
      axes.plot(own["training_macs"], 100 * own["mean"], color=shade, linewidth=1.6, linestyle=plotting.line_style(net))
      axes.plot(own["training_macs"].iloc[-1:], 100 * own["mean"].iloc[-1:], "o", color=shade, markersize=4)
      ends.append((100 * float(own["mean"].iloc[-1]), net.label, shade))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: macs(value).replace("1.0e", "1e")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    plotting.log_scale(axes, 100 * curves["mean"])
    axes.set_xlabel("multiply-adds spent in training")
    axes.set_ylabel("test error (%)")
    title = {"plain": "Plain nets, by cost", "residual": "Residual nets, by cost"}.get(kind, f"{kind} nets, by cost")
    axes.set_title(title)
    style.label_line_ends(axes, ends)
    names = ", ".join(net.label for net in drawn)
    description = f"{title}: test error against multiply-adds spent in training for {names}; the lowest is underlaid."
    return Panel(f"frontier-{stretches['series'].iloc[0]}", style.to_svg(figure), description)
