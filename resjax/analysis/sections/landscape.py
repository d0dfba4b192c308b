"""Loss landscape: filter-normalized surfaces, and leading eigenvalues of the Hessian."""

import pandas as pd
from matplotlib.colors import LogNorm

from resjax.analysis import formats, plotting, style
from resjax.analysis.curves import last_capture, latest_settings
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import Column, Section, Table, plotted_networks, study_commands

_SETTINGS = ["images", "mode", "batch_size", "draw_seed"]
_COLUMNS = (
  *(Column("network", number=False), Column("seed"), Column("eigenvalue", "1 is the largest")),
  *(Column("value"), Column("residual", "bound on the error")),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if neither surfaces nor eigenvalues were studied."""
  surface = last_capture(logs.studies["landscape"]).dropna(subset=["loss"])
  surface = latest_settings(surface, _SETTINGS)
  hessian = last_capture(logs.studies["hessian"]).dropna(subset=["eigenvalue"])
  hessian = latest_settings(hessian, [*_SETTINGS, "eigenvalues", "max_iterations"])
  if surface.empty and hessian.empty:
    return None
  data = {name: frame for name, frame in (("landscape", surface), ("hessian", hessian)) if not frame.empty}
  caption = (
    "Loss along two random, filter-normalized directions around the trained network (the cross); all networks share "
    "one color scale. A large eigenvalue of the Hessian corresponds to a direction of high curvature."
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
    center = losses[(losses["alpha"] == 0) & (losses["beta"] == 0)]["loss"].mean()
    sentences.append(
      f"{net.label}: the loss is {formats.figures(center)} at the trained network and "
      f"{formats.figures(losses['loss'].median())} in the median over the surface."
    )
  for net in plotted_networks(logs, hessian):
    first = hessian[(hessian["net"] == net.key) & (hessian["index"] == 1)]
    largest = formats.figures(first["eigenvalue"].mean())
    sentences.append(f"{net.label}: the largest eigenvalue of the Hessian is {largest}.")
  return tuple(sentences)
