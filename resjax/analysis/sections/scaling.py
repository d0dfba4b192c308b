"""Scaling with depth: power laws of error, loss and response, and the best depth for a training budget."""

import pandas as pd

from resjax.analysis import formats, plotting, scaling, seed_statistics, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import key_without_depth
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.depth_panel import depth_panel
from resjax.analysis.sections.section import (
  Column,
  Section,
  Table,
  join_words,
  percentage_points,
  plotted_networks,
  run_commands,
)
from resjax.depth import PASSES_PER_STEP

_LAWS = (
  *(Column("networks", number=False), Column("measure", number=False), Column("against", number=False)),
  *(Column("depths"), Column("runs"), Column("exponent"), Column(f"{seed_statistics.LEVEL:.0%} interval")),
  *(Column("R²"), Column("accepted", number=False)),
)
_FRONTIER = (
  *(Column("best", number=False), Column("budget from", "multiply-adds"), Column("to"), Column("error", "% there")),
  *(Column("next best", number=False), Column("difference", "points"), Column("standard error", "by sampling")),
)
_DRAWN = {
  "test_error": (100, "Test error by depth", "test error (%)"),
  "train_loss": (1, "Training loss by depth", "training loss"),
}


def build(logs: Logs) -> Section | None:
  """Builds the section; None without three depths for a fit or two depths with learning curves, and for detectors.

  The training cost of a detector is not proportional to its cost at test, because the number of regions differs.
  """
  if len(logs.average_precision):
    return None
  measured = scaling.finished_runs(logs)
  laws, frontier, curves = scaling.power_laws(measured), scaling.frontier(logs), scaling.curves(logs)
  if laws.empty and frontier.empty:
    return None
  panels = []
  for measure, (scale, *words) in _DRAWN.items():
    of_depth = laws[(laws["measure"] == measure) & (laws["against"] == "depth")]
    if len(of_depth):
      name = f"scaling-{measure.replace('_', '-')}"
      panels.append(depth_panel(logs, measured, measure, of_depth, (name, words[0], words[1]), scale))
  for series in frontier["series"].unique():
    of_series = curves[curves["net"].map(key_without_depth) == series]
    panels.append(_frontier_panel(logs, of_series, frontier[frontier["series"] == series]))
  tables = []
  if len(laws):
    caption = f"Power laws; accepted if the interval excludes 0 and R² is at least {scaling.MIN_R_SQUARED:.1f}."
    tables.append(Table(caption, _LAWS, [_law_row(row) for row in laws.to_dict("records")]))
  if len(frontier):
    caption = "Best depth for a training budget in multiply-adds."
    tables.append(Table(caption, _FRONTIER, [_frontier_row(row) for row in frontier.to_dict("records")]))
  data = {"scaling": measured, "scaling_laws": laws, "frontier": frontier, "training_macs_curves": curves}
  return Section(
    key="scaling",
    title="Scaling with depth",
    findings=(*_law_findings(laws), *_frontier_findings(frontier)),
    caption="Thick grey line: lowest error for a training budget. A training step costs "
    f"{PASSES_PER_STEP} times the multiply-adds of its forward pass. Errors before the end of a curve are "
    "those of a longer schedule whose learning rate has not dropped yet, so the frontier compares these runs, not the "
    "best possible ones.",
    panels=tuple(panels),
    tables=tuple(tables),
    data={name: frame for name, frame in data.items() if len(frame)},
    commands=run_commands(logs),
  )


def _law_findings(laws: pd.DataFrame) -> tuple[str, ...]:
  """Returns a sentence for each series and measure against depth, to which the other predictors are proportional."""
  sentences = []
  for row in laws[laws["against"] == "depth"].to_dict("records"):
    subject = f"The {scaling.MEASURES[row['measure']]} of {row['series']} networks"
    fitted = (
      f"{formats.number(row['exponent'])} ({seed_statistics.LEVEL:.0%} interval {formats.number(row['low'])} to "
      f"{formats.number(row['high'])}; {row['runs']} runs, R² {formats.number(row['r_squared'], 3)})"
    )
    if row["law"]:
      sentences.append(f"{subject} scales as depth to the power {fitted}.")
    else:
      sentences.append(f"{subject} is not well described by a power law in depth: fitted exponent {fitted}.")
  return tuple(sentences)


def _frontier_findings(frontier: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for _, ranges in frontier.groupby("series", sort=False):
    best = join_words(f"{row['label']} up to {macs(row['to_macs'])}" for row in ranges.to_dict("records"))
    last = ranges.iloc[-1]
    close = abs(last["difference"]) <= scaling.MIN_STANDARD_ERRORS * last["sampling_error"]
    sentences.append(
      f"For training budgets in multiply-adds, the best network{'s are' if len(ranges) > 1 else ' is'} {best}. "
      f"At the largest budget, the test error of {last['than_label']} is {percentage_points(last['difference'])} "
      f"{'higher' if last['difference'] > 0 else 'lower'}{', which is within the sampling error' if close else ''}."
    )
  return tuple(sentences)


def macs(count: float) -> str:
  """Formats multiply-adds with two significant digits, as "3.1e13"."""
  mantissa, exponent = f"{count:.1e}".split("e")
  return f"{mantissa}e{int(exponent)}"


def _law_row(row: dict) -> list[str]:
  return [
    *(row["series"], scaling.MEASURES[row["measure"]], scaling.PREDICTORS[row["against"]]),
    *(formats.count(row["depths"]), formats.count(row["runs"]), formats.number(row["exponent"])),
    f"{formats.number(row['low'])} to {formats.number(row['high'])}",
    *(formats.number(row["r_squared"], 3), "yes" if row["law"] else "no"),
  ]


def _frontier_row(row: dict) -> list[str]:
  return [
    *(row["label"], macs(row["from_macs"]), macs(row["to_macs"]), formats.percent(row["error"]), row["than_label"]),
    *(formats.signed(100 * row["difference"]), formats.percent(row["sampling_error"], before="± ")),
  ]


def _frontier_panel(logs: Logs, curves: pd.DataFrame, ranges: pd.DataFrame) -> Panel:
  networks, colors = plotted_networks(logs, curves), plotting.network_colors(logs.networks)
  kind = networks[0].kind
  with style.panel() as (figure, axes):
    ends = []
    for row in ranges.to_dict("records"):
      curve = curves[curves["net"] == row["net"]]
      best = curve[(curve["training_macs"] >= row["from_macs"]) & (curve["training_macs"] <= row["to_macs"])]
      axes.plot(best["training_macs"], 100 * best["mean"], color=style.RULE, linewidth=7, solid_capstyle="round")
    for net in networks:
      curve = curves[curves["net"] == net.key]
      color = colors[net.key]
      axes.plot(
        curve["training_macs"], 100 * curve["mean"], color=color, linewidth=1.6, linestyle=plotting.line_style(net)
      )
      axes.plot(curve["training_macs"].iloc[-1:], 100 * curve["mean"].iloc[-1:], "o", color=color, markersize=4)
      ends.append((100 * float(curve["mean"].iloc[-1]), net.label, color))
    plotting.log_scale(axes, "x", lambda value: macs(value).replace(".0e", "e"))
    plotting.log_scale(axes, "y")
    axes.set_xlabel("training cost (multiply-adds)")
    axes.set_ylabel("test error (%)")
    title = f"{kind.capitalize()} networks by training cost"
    axes.set_title(title)
    style.label_line_ends(axes, ends)
    names = ", ".join(net.label for net in networks)
    description = (
      f"{title}: test error against multiply-adds spent in training for {names}; a thick line marks the lowest error."
    )
    return Panel(f"frontier-{ranges['series'].iloc[0]}", style.to_svg(figure), description)
