"""Path of training in the plane of the first principal components of a run's checkpoints, and the loss in it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from resjax.analysis import formats, plotting, study_lines, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import DASHED, Panel
from resjax.analysis.sections.section import Column, Section, Table, plotted_networks, study_commands

_COLUMNS = (
  *(Column("network", number=False), Column("seed"), Column("checkpoints")),
  *(Column("first", "% of the variance"), Column("second", "% of the variance")),
  *(Column("distance", "start to end"), Column("outside", "largest distance from the plane")),
  *(Column("factor", "largest, between the losses"), Column("at step")),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no path was studied."""
  # Runs are not averaged, and the number of checkpoints may differ between them.
  path = study_lines.of_last_step(logs, "trajectory", within=("id",))
  path = path.dropna(subset=["alpha", "beta", "loss", "plane_loss"])
  if path.empty:
    return None
  same = ["id", "step", *study_lines.SETTINGS["trajectory"]]
  surface = logs.studies["trajectory_surface"].merge(path[same].drop_duplicates(), on=same).dropna(subset=["loss"])
  path = path.sort_values("at", kind="stable")
  planes = _planes(logs, path)
  first_runs = {net: path[path["id"] == run] for net, run in path.drop_duplicates("net")[["net", "id"]].to_numpy()}
  return Section(
    key="trajectory",
    title="Path of training",
    findings=tuple(_sentence(row) for row in planes.drop_duplicates("net").to_dict("records")),
    caption="Left: checkpoints, projected onto the plane through the last one (the cross) along the first two "
    "principal components of all checkpoints and the initial weights (Li et al., 2018, Sec. 7), over the training loss "
    "in that plane. Right: loss at the projections, and of the checkpoints themselves (dashed), both with batch "
    "statistics. Where the two differ, the surface does not show the loss around the checkpoint.",
    panels=tuple(
      panel
      for net in plotted_networks(logs, path)
      for panel in (_plane_panel(net, first_runs[net.key], surface), _loss_panel(net, first_runs[net.key]))
    ),
    tables=(Table("Paths of training and their principal planes.", _COLUMNS, [*map(_row, planes.to_dict("records"))]),),
    data={
      "trajectory": path,
      "trajectory_planes": planes,
      **({} if surface.empty else {"trajectory_surface": surface}),
    },
    commands=study_commands(logs, "trajectory"),
  )


def _planes(logs: Logs, path: pd.DataFrame) -> pd.DataFrame:
  """Returns the plane of each run: its shares of the variance, and the largest ratio between the two losses."""
  rows = []
  for run, lines in path.groupby("id", sort=False):
    ratios = (lines["plane_loss"] / lines["loss"]).to_numpy("float64")
    factors = np.maximum(ratios, 1 / ratios)
    worst, first = lines.iloc[int(factors.argmax())], lines.iloc[0]
    rows.append(
      {"id": run, "net": first["net"], "label": logs.labels[first["net"]], "seed": first["seed"]}
      | {"checkpoints": len(lines), "first_share": first["first_share"], "second_share": first["second_share"]}
      | {"distance": first["distance"], "outside": lines["plane_distance"].max(), "factor": factors.max()}
      | {"at": worst["at"], "loss": worst["loss"], "plane_loss": worst["plane_loss"]}
    )
  order = {net.key: i for i, net in enumerate(logs.networks)}
  return pd.DataFrame(rows).sort_values("net", key=lambda nets: nets.map(order), kind="stable")


def _sentence(row: Mapping[Any, Any]) -> str:
  return (
    f"{row['label']}: two components hold {100 * (row['first_share'] + row['second_share']):.0f} % of the variance of "
    f"{formats.count(row['checkpoints'])} checkpoints; the loss at their projections on the plane differs from their "
    f"own by a factor of up to {formats.figures(row['factor'])} (at step {formats.count(row['at'])}: "
    f"{formats.figures(row['plane_loss'])} instead of {formats.figures(row['loss'])})."
  )


def _row(row: Mapping[Any, Any]) -> list[str]:
  return [
    *(str(row["label"]), formats.count(row["seed"]), formats.count(row["checkpoints"])),
    *(formats.number(100 * row[f"{name}_share"], 1) for name in ("first", "second")),
    *(formats.figures(row[name]) for name in ("distance", "outside", "factor")),
    formats.count(row["at"]),
  ]


def _plane_panel(net: Network, path: pd.DataFrame, surface: pd.DataFrame) -> Panel:
  """Draws the path of one run over the loss in its plane."""
  x, y = path["alpha"].tolist(), path["beta"].tolist()
  with style.panel() as (figure, axes):
    losses = surface[surface["id"] == path["id"].iloc[0]]
    if len(losses):
      plotting.loss_surface(axes, losses, plotting.log_norm(losses["loss"]))
    axes.plot(x, y, color="white", linewidth=3.0)  # for contrast
    axes.plot(x, y, color="black", linewidth=1.4, marker=".", markersize=6)
    axes.plot(x[-1], y[-1], "x", color="white", markersize=9, markeredgewidth=2.5)
    axes.set_xlabel(f"first component ({100 * path['first_share'].iloc[0]:.1f} %)")
    axes.set_ylabel(f"second component ({100 * path['second_share'].iloc[0]:.1f} %)")
    axes.set_title(net.label)
    description = f"{net.label}: path of training in its principal plane, over the loss as colors and contours."
    return Panel(f"trajectory-{net.key}", style.to_svg(figure), description)


def _loss_panel(net: Network, path: pd.DataFrame) -> Panel:
  """Draws the loss of the checkpoints and of their projections onto the plane."""
  steps = path["at"].tolist()
  with style.panel() as (figure, axes):
    axes.plot(steps, path["plane_loss"].tolist(), color=style.SERIES_LIGHT[0], marker=".", label="on the plane")
    axes.plot(
      steps, path["loss"].tolist(), color=style.SERIES_LIGHT[3], marker=".", linestyle=DASHED, label="of the checkpoint"
    )
    if (path[["loss", "plane_loss"]] > 0).all(axis=None):
      plotting.log_scale(axes, "y")
    axes.set_xlabel("step")
    axes.set_ylabel("training loss")
    axes.set_title(f"{net.label}: loss along the path")
    axes.legend(loc="upper right", fontsize=9)
    description = f"{net.label}: loss of the checkpoints and of their projections on the plane, by step."
    return Panel(f"trajectory-loss-{net.key}", style.to_svg(figure), description)
