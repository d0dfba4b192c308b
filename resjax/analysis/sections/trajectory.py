"""Path of training in the plane of the principal components of a run's checkpoints, and the loss there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm

from resjax.analysis import formats, plotting, style
from resjax.analysis.curves import last_capture
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import DASHED, Panel
from resjax.analysis.sections.section import Column, Section, Table, plotted_networks, study_commands

_SETTINGS = ["images", "batch_size", "checkpoints"]
_COLUMNS = (
  *(Column("network", number=False), Column("seed"), Column("checkpoints")),
  *(Column("first", "% of the variance"), Column("second", "% of the variance")),
  *(Column("distance", "start to end"), Column("outside", "most, from the plane")),
  *(Column("factor", "between the losses"), Column("at step")),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no path was studied."""
  path = _latest(logs, "trajectory").dropna(subset=["alpha", "beta", "loss", "plane_loss"])
  if path.empty:
    return None
  surface = _latest(logs, "trajectory_surface").dropna(subset=["loss"])
  path = path.sort_values("at", kind="stable")
  gaps = _gaps(logs, path)
  shown = {net: path[path["id"] == run] for net, run in path.drop_duplicates("net")[["net", "id"]].to_numpy()}
  return Section(
    key="trajectory",
    title="Path of training",
    findings=tuple(_sentence(row) for row in gaps.drop_duplicates("net").to_dict("records")),
    caption="Checkpoints in the plane through the newest one (the cross) along the first two principal components of "
    "all, the initial weights included (Li et al., 2018, Sec. 7), over the training loss in that plane. A plane shows "
    "the loss at the projections of the checkpoints; beside it (dashed) is their own loss, both with the statistics of "
    "the batch. Where the two differ, the surface is not that around the checkpoint.",
    panels=tuple(
      panel
      for net in plotted_networks(logs, path)
      for panel in (_plane(net, shown[net.key], surface), _losses(net, shown[net.key]))
    ),
    tables=(
      Table("Paths of training and the planes they are drawn in.", _COLUMNS, [*map(_row, gaps.to_dict("records"))]),
    ),
    data={"trajectory": path, "trajectory_planes": gaps, **({} if surface.empty else {"trajectory_surface": surface})},
    commands=study_commands(logs, "trajectory"),
  )


def _latest(logs: Logs, log: str) -> pd.DataFrame:
  """Returns the lines of each run's newest checkpoint and of the settings that were recorded last."""
  lines = last_capture(logs.studies[log])
  chosen = lines.drop_duplicates("id", keep="last")[["id", *_SETTINGS]]
  return lines.merge(chosen, on=["id", *_SETTINGS])


def _gaps(logs: Logs, path: pd.DataFrame) -> pd.DataFrame:
  """Returns, for each run, the plane's shares of the variance, and the largest factor between the two losses."""
  rows = []
  for run, own in path.groupby("id", sort=False):
    ratios = (own["plane_loss"] / own["loss"]).to_numpy("float64")
    factors = np.maximum(ratios, 1 / ratios)
    worst, first = own.iloc[int(factors.argmax())], own.iloc[0]
    rows.append(
      {"id": run, "net": first["net"], "label": logs.labels[first["net"]], "seed": first["seed"]}
      | {"checkpoints": len(own), "first_share": first["first_share"], "second_share": first["second_share"]}
      | {"distance": first["distance"], "outside": own["plane_distance"].max(), "factor": factors.max()}
      | {"at": worst["at"], "loss": worst["loss"], "plane_loss": worst["plane_loss"]}
    )
  order = {net.key: i for i, net in enumerate(logs.networks)}
  return pd.DataFrame(rows).sort_values("net", key=lambda nets: nets.map(order), kind="stable")


def _sentence(row: Mapping[Any, Any]) -> str:
  return (
    f"{row['label']}: two components hold {100 * (row['first_share'] + row['second_share']):.0f} % of the variance of "
    f"{formats.count(row['checkpoints'])} checkpoints; the loss at their projections on the plane differs from their "
    f"own by a factor of up to {formats.figures(row['factor'])} (at step {formats.count(row['at'])}: "
    f"{formats.figures(row['plane_loss'])} for {formats.figures(row['loss'])})."
  )


def _row(row: Mapping[Any, Any]) -> list[str]:
  return [
    *(str(row["label"]), formats.count(row["seed"]), formats.count(row["checkpoints"])),
    *(formats.number(100 * row[f"{name}_share"], 1) for name in ("first", "second")),
    *(formats.figures(row[name]) for name in ("distance", "outside", "factor")),
    formats.count(row["at"]),
  ]


def _plane(net: Network, own: pd.DataFrame, surface: pd.DataFrame) -> Panel:
  """Draws the path over the loss on the plane."""
  x, y = own["alpha"].tolist(), own["beta"].tolist()
  with style.panel() as (figure, axes):
    lines = surface[surface["id"] == own["id"].iloc[0]]
    if len(lines):
      grid = lines.pivot_table(index="beta", columns="alpha", values="loss", aggfunc="last")
      losses = grid.to_numpy("float64")
      losses = np.where(losses > 0, losses, np.nan)
      low = float(np.nanmin(losses))
      norm = LogNorm(low, max(float(np.nanmax(losses)), low * 1.01))
      across, up = ([float(value) for value in index] for index in (grid.columns, grid.index))
      plotting.heat_map(axes, plotting.cell_edges(across), plotting.cell_edges(up), losses, norm, "loss")
      if min(losses.shape) > 1 and np.isfinite(losses).all():
        levels = np.geomspace(*plotting.limits(norm), 9)[1:-1]
        axes.contour(across, up, losses, levels=levels, colors="white", linewidths=0.6)
    axes.plot(x, y, color="white", linewidth=3.0)  # for contrast
    axes.plot(x, y, color="black", linewidth=1.4, marker=".", markersize=6)
    axes.plot(x[-1], y[-1], "x", color="white", markersize=9, markeredgewidth=2.5)
    axes.set_xlabel(f"first component ({100 * own['first_share'].iloc[0]:.1f} %)")
    axes.set_ylabel(f"second component ({100 * own['second_share'].iloc[0]:.1f} %)")
    axes.set_title(net.label)
    description = f"{net.label}: path of training in its principal plane, over the loss as colours and contours."
    return Panel(f"trajectory-{net.key}", style.to_svg(figure), description)


def _losses(net: Network, own: pd.DataFrame) -> Panel:
  """Draws the loss of the checkpoints beside that of their projections."""
  steps = own["at"].tolist()
  with style.panel() as (figure, axes):
    axes.plot(steps, own["plane_loss"].tolist(), color=style.SERIES_LIGHT[0], marker=".", label="on the plane")
    axes.plot(
      steps, own["loss"].tolist(), color=style.SERIES_LIGHT[3], marker=".", linestyle=DASHED, label="of the checkpoint"
    )
    if (own[["loss", "plane_loss"]] > 0).all(axis=None):
      plotting.log_scale(axes, "y")
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.set_title(f"{net.label}: loss along the path")
    axes.legend(loc="upper right", fontsize=9)
    description = f"{net.label}: loss of the checkpoints and of their projections on the plane, by step."
    return Panel(f"trajectory-loss-{net.key}", style.to_svg(figure), description)
