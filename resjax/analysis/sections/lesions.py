"""Lesions: error of trained networks with blocks deleted or reordered."""

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from resjax import study_records
from resjax.analysis import formats, plotting, study_lines, style
from resjax.analysis.curves import add_labels, summarize_seeds
from resjax.analysis.logs import Logs
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import (
  Column,
  LineOptions,
  Section,
  Table,
  line_panel,
  plotted_networks,
  study_commands,
)

_SETTINGS = ["reestimated", "images", "source"]
_STATISTICS = ["statistics_images", "batch_size"]  # settings of re-estimated batch statistics
_SUMMARY = ["net", "label", "reestimated", "images", "undisturbed", "best", "median", "worst", "blocks"]
_COLUMNS = (
  *(Column("network", number=False), Column("batch statistics", number=False), Column("images"), Column("intact")),
  *(
    Column("lowest", "one block deleted"),
    Column("median"),
    Column("highest"),
    Column("blocks", "deleted in turn"),
  ),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no network was lesioned."""
  lines = study_lines.last_capture(logs.studies["lesions"]).dropna(subset=["error"])
  lines = study_lines.common_settings(lines, _STATISTICS, within=("net", *_SETTINGS))
  if lines.empty:
    return None
  drawn = _drawn(lines)
  singles, intact = single_deletions(logs, drawn), _intact_errors(drawn)
  table = summary(logs, lines)
  data, panels = {"lesions": table, "single_deletions": singles}, []
  if not singles.empty:
    panels.append(_single_panel(logs, singles, intact))
  for kind, x, title, label in (
    (study_records.DELETE_RANDOM, "count", "Several blocks deleted", "blocks deleted at random"),
    (study_records.REORDER, "tau", "Blocks reordered", "rank correlation with the true order"),
  ):
    curves = _over_trials(logs, drawn[drawn["lesion"] == kind], x)
    if not curves.empty:
      data[f"lesions_{kind}"] = curves
      options = LineOptions(scale=100, baselines=intact, marker=".")
      panels.append(line_panel(logs, curves, x, (f"lesions-{kind}", title, label, "error (%)"), options))
  return Section(
    key="lesions",
    title="Lesions",
    findings=_findings(table),
    caption="Error of trained networks with blocks deleted (their shortcuts stay) or reordered. Dotted lines: intact "
    "networks. Bands: range over seeds and random draws. A network that keeps working behaves like an ensemble of "
    "shallower networks; one that falls to chance depends on every layer."
    + study_lines.settings_note(logs, drawn, [*_SETTINGS, *_STATISTICS]),
    panels=tuple(panels),
    tables=(Table("Error in percent on a sample of images, one block deleted at a time.", _COLUMNS, _rows(table)),),
    data=data,
    commands=study_commands(logs, "lesion"),
  )


def single_deletions(logs: Logs, lines: pd.DataFrame) -> pd.DataFrame:
  """Returns the error with each single block deleted.

  Args:
    logs: Logs of one experiment.
    lines: Lines of the study of lesions.

  Returns:
    Columns label, kind, depth, shortcut, net, step, position (of the deleted block, from the input), stage, block,
    mean, low, high (fractions; over seeds), runs.
  """
  deleted = lines[lines["lesion"] == study_records.DELETE]
  order = deleted["stage"] * 100_000 + deleted["block"]  # no stage has so many blocks
  ranked = deleted.assign(position=order.groupby(deleted["id"]).rank(method="dense").astype("Int64"))
  grouped = ranked.groupby(["net", "step", "position", "stage", "block"], sort=True)["error"]
  return add_labels(summarize_seeds(grouped), logs, ["step", "position", "stage", "block"])


def summary(logs: Logs, lines: pd.DataFrame) -> pd.DataFrame:
  """Returns the error of each network intact and over all single deletions, as means over seeds.

  Args:
    logs: Logs of one experiment.
    lines: Lines of the study of lesions.

  Returns:
    One row per network and setting with columns net, label, reestimated, images, undisturbed (error of the intact
    network), best, median and worst (error with one block deleted; fractions), blocks (number of deleted blocks).
  """
  labels = {net.key: net.label for net in plotted_networks(logs, lines)}
  rows = []
  for key, label in labels.items():
    of_net = lines[lines["net"] == key]
    for (reestimated, images, _), part in of_net.groupby(_SETTINGS, sort=False, dropna=False):
      deleted = part[part["lesion"] == study_records.DELETE]
      by_seed = deleted.groupby("id")["error"].agg(["min", "median", "max", "count"]).mean()
      undisturbed = part[part["lesion"] == study_records.NONE]["error"].mean()
      rows.append((key, label, reestimated, images, undisturbed, *by_seed))
  return pd.DataFrame(rows, columns=_SUMMARY)


def _drawn(lines: pd.DataFrame) -> pd.DataFrame:
  """Returns the lines to draw: one choice of settings for each network, and one seed of its random lesions.

  If a network was tested with and without re-estimated batch statistics, the lines are those without.
  """
  as_trained = lines[lines["reestimated"].ne(True)]
  preferred = pd.concat([as_trained, lines[~lines["net"].isin(as_trained["net"])]])
  chosen = study_lines.common_settings(preferred, _SETTINGS)
  # Lesions without a random draw have no seed.
  random = study_lines.common_settings(chosen[chosen["draw_seed"].notna()], ["draw_seed"])
  return pd.concat([chosen[chosen["draw_seed"].isna()], random])


def _intact_errors(lines: pd.DataFrame) -> dict[str, float]:
  """Returns the error of each intact network by its key."""
  intact = lines[lines["lesion"] == study_records.NONE]
  return {str(net): float(error) for net, error in intact.groupby("net")["error"].mean().items()}


def _over_trials(logs: Logs, lines: pd.DataFrame, x: str) -> pd.DataFrame:
  """Returns mean and range of the error over random draws and seeds, by the column `x`; tau is rounded to a tenth."""
  at = lines[x].round(1) if x == "tau" else lines[x]
  curves = summarize_seeds(lines.assign(**{x: at}).dropna(subset=[x]).groupby(["net", "step", x], sort=True)["error"])
  return add_labels(curves, logs, ["step", x])


def _single_panel(logs: Logs, singles: pd.DataFrame, intact: dict[str, float]) -> Panel:
  networks, colors = plotted_networks(logs, singles), plotting.network_colors(logs.networks)
  with style.panel() as (figure, axes):
    ends = []
    for net in networks:
      curve, color = plotting.network_curve(singles, net), colors[net.key]
      filled = "none" if net.kind == "plain" else color
      heights = [100 * value for value in curve["mean"]]
      axes.plot(
        curve["position"],
        heights,
        marker="o",
        color=color,
        markerfacecolor=filled,
        markersize=4,
        linewidth=1.0,
        linestyle=plotting.line_style(net),
      )
      if max(curve["runs"]) > 1:
        low, high = (100 * np.array(curve[key]) for key in ("low", "high"))
        axes.fill_between(curve["position"], low, high, color=color, alpha=0.15, linewidth=0)
      if net.key in intact:
        axes.axhline(100 * intact[net.key], color=color, linewidth=0.9, linestyle=(0, (1, 2)))
      ends.append((heights[-1], net.label, color))
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel("deleted block")
    axes.set_ylabel("error (%)")
    axes.set_title("One block deleted")
    plotting.add_kind_legend(axes, networks, 1.0)
    style.label_line_ends(axes, ends)
    names = ", ".join(net.label for net in networks)
    description = f"Error in percent with one block deleted, by the block, for {names}."
    return Panel("lesions-single", style.to_svg(figure), description)


def _rows(table: pd.DataFrame) -> list[list[str]]:
  return [
    [
      *(row["label"], "re-estimated" if row["reestimated"] is True else "as trained", formats.count(row["images"])),
      *(formats.percent(row[column]) for column in ("undisturbed", "best", "median", "worst")),
      formats.count(row["blocks"]),
    ]
    for row in table.to_dict("records")
  ]


def _findings(table: pd.DataFrame) -> tuple[str, ...]:
  return tuple(
    f"{row['label']}: error {formats.percent(row['undisturbed'])} % intact and {formats.percent(row['best'])} to "
    f"{formats.percent(row['worst'])} % (median {formats.percent(row['median'])} %) with one block deleted"
    f"{', after re-estimating the batch statistics' if row['reestimated'] is True else ''}."
    for row in table.to_dict("records")
    if row["blocks"] > 0
  )
