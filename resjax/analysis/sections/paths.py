"""Gradient paths: share of the gradient that flows through the paths of each length."""

import pandas as pd

from resjax.analysis import formats, study_lines
from resjax.analysis.curves import add_labels, summarize_seeds
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import LineOptions, Section, line_panel, plotted_networks, study_commands


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no paths were studied."""
  lines = study_lines.of_last_step(logs, "paths").dropna(subset=["share"])
  if lines.empty:
    return None
  curves = summarize_seeds(lines.groupby(["net", "step", "length"], sort=True)["share"])
  curves = add_labels(curves, logs, ["step", "length"])
  # A plain network has one path, through all its blocks.
  branching = curves[curves.groupby("net")["length"].transform("nunique") > 1]
  panels = []
  if not branching.empty:
    labels = ("paths", "Gradient by path length", "main branches on the path", "share of the gradient (%)")
    panels.append(line_panel(logs, branching, "length", labels, LineOptions(scale=100)))
  return Section(
    key="paths",
    title="Gradient paths",
    findings=_findings(logs, curves, lines),
    caption="The gradient with respect to the input of the first block is a sum over paths, each through the shortcut "
    "or the main branch of every block (ReLU masks held fixed). The share of a length is the projection of that part "
    "of the gradient onto the whole. Shares sum to one and can be negative."
    + study_lines.settings_note(logs, lines, study_lines.SETTINGS["paths"]),
    panels=tuple(panels),
    data={"paths": curves},
    commands=study_commands(logs, "gradients"),
  )


def _findings(logs: Logs, curves: pd.DataFrame, lines: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for net in plotted_networks(logs, curves):
    curve = curves[curves["net"] == net.key].sort_values("length")
    blocks = lines[lines["net"] == net.key]["blocks_of_net"].max()
    reached = curve[curve["mean"].cumsum() >= 0.5]["length"]
    if len(curve) > 1 and len(reached):
      sentences.append(
        f"{net.label}: half of the gradient flows through paths of at most {formats.count(reached.iloc[0])} of "
        f"{formats.count(blocks)} main branches."
      )
    elif len(curve) == 1:
      sentences.append(f"{net.label}: the whole gradient flows through one path of {formats.count(blocks)} blocks.")
  return tuple(sentences)
