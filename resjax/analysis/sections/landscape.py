"""Loss landscape: filter-normalized surfaces, and leading eigenvalues of the Hessian."""

import pandas as pd
from matplotlib.colors import LogNorm

from resjax.analysis import formats, plotting, study_lines, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import Column, Section, Table, plotted_networks, study_commands

_SETTINGS = study_lines.SETTINGS["landscape"]  # also those of the Hessian
_COLUMNS = (
  *(Column("network", number=False), Column("seed"), Column("eigenvalue", "1 is the largest")),
  *(Column("value"), Column("residual", "norm, bounds the error")),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if neither surfaces nor eigenvalues were studied."""
  surface = study_lines.of_last_step(logs, "landscape").dropna(subset=["loss"])
  hessian = study_lines.of_last_step(logs, "hessian").dropna(subset=["eigenvalue"])
  if surface.empty and hessian.empty:
    return None
  data = {name: frame for name, frame in (("landscape", surface), ("hessian", hessian)) if not frame.empty}
  caption = (
    "Loss along two random, filter-normalized directions around the trained network (the cross); all networks share "
    "one color scale. A large eigenvalue of the Hessian corresponds to a direction of high curvature."
    + "".join(dict.fromkeys(study_lines.settings_note(logs, each, _SETTINGS) for each in (surface, hessian)))
  )
  rows = [
    [
      *(row["label"], formats.count(row["seed"]), formats.count(row["index"])),
      *(formats.figures(row["eigenvalue"], 4), formats.figures(row["residual"], 2)),
    ]
    for row in _labelled(logs, hessian).to_dict("records")
  ]
  tables = (Table("Leading eigenvalues of the Hessian of the loss.", _COLUMNS, rows),) if rows else ()
  return Section(
    key="landscape",
    title="Loss landscape",
    findings=_findings(logs, surface, hessian),
    caption=caption,
    panels=tuple(_panels(logs, surface)),
    tables=tables,
    data=data,
    commands=study_commands(logs, "landscape"),
  )


def _labelled(logs: Logs, frame: pd.DataFrame) -> pd.DataFrame:
  return frame.assign(label=frame["net"].map({net.key: net.label for net in plotted_networks(logs, frame)}))


def _panels(logs: Logs, surface: pd.DataFrame) -> list[Panel]:
  """Draws the loss surface of the first seed of each network, with one color scale."""
  if not (surface["loss"] > 0).any():
    return []
  norm = plotting.log_norm(surface["loss"])
  return [_panel(net, surface[surface["net"] == net.key], norm) for net in plotted_networks(logs, surface)]


def _panel(net: Network, lines: pd.DataFrame, norm: LogNorm) -> Panel:
  first = lines[lines["id"] == lines["id"].iloc[0]]
  with style.panel() as (figure, axes):
    plotting.loss_surface(axes, first, norm)
    axes.plot(0, 0, "+", color="white", markersize=8)
    axes.set_aspect("equal")
    axes.set_xlabel("first direction")
    axes.set_ylabel("second direction")
    axes.set_title(net.label)
    description = f"{net.label}: loss along two random directions around the trained network, as colors and contours."
    return Panel(f"landscape-{net.key}", style.to_svg(figure), description)


def _findings(logs: Logs, surface: pd.DataFrame, hessian: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for net in plotted_networks(logs, surface):
    losses = surface[surface["net"] == net.key]
    center = losses[(losses["alpha"] == 0) & (losses["beta"] == 0)]["loss"]  # empty with an even number of points
    text = f"the loss is {formats.figures(center.mean())} at the trained network, and its median" if len(center) else ""
    text = text or "the median of the loss"
    sentences.append(f"{net.label}: {text} over the surface is {formats.figures(losses['loss'].median())}.")
  for net in plotted_networks(logs, hessian):
    first = hessian[(hessian["net"] == net.key) & (hessian["index"] == 1)]
    largest = formats.figures(first["eigenvalue"].mean())
    sentences.append(f"{net.label}: the largest eigenvalue of the Hessian is {largest}.")
  return tuple(sentences)
