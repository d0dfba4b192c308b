"""Paths: how much of the gradient comes through paths of each length."""

import pandas as pd

from resjax.analysis import formats
from resjax.analysis.curves import add_labels, last_capture, summarize_seeds
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import Section, line_panel, plotted_networks, study_commands


def build(logs: Logs) -> Section | None:
  """None where no net's paths were studied."""
  lines = last_capture(logs.studies["paths"]).dropna(subset=["share"])
  if lines.empty:
    return None
  curves = summarize_seeds(lines.groupby(["net", "step", "length"], sort=True)["share"])
  curves = add_labels(curves, logs, ["step", "length"])
  # A plain net has one path, through all its blocks.
  branching = curves[curves.groupby("net")["length"].transform("nunique") > 1]
  panels = []
  if not branching.empty:
    axes = ("blocks whose main branch a path goes through", "share of the gradient (%)")
    panels.append(line_panel(logs, branching, "length", "paths", "Gradient by length of path", axes, scale=100))
  return Section(
    key="paths",
    title="Paths of the gradient",
    findings=_says(logs, curves, lines),
    caption="The gradient by the first block’s input is a sum over paths, each of which takes the shortcut or the main "
    "branch of every block, with the nonlinearities’ masks held fixed. The share of a length is the projection of its "
    "paths’ part on the whole; the shares of a net sum to one, and a share can be negative.",
    panels=tuple(panels),
    data={"paths": curves},
    commands=study_commands(logs, "gradients"),
  )


def _says(logs: Logs, curves: pd.DataFrame, lines: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for net in plotted_networks(logs, curves):
    own = curves[curves["net"] == net.key].sort_values("length")
    blocks = lines[lines["net"] == net.key]["blocks_of_net"].max()
    reached = own[own["mean"].cumsum() >= 0.5]["length"]
    if len(own) > 1 and len(reached):
      sentences.append(
        f"{net.label}: half of the gradient comes through paths of at most {formats.count(reached.iloc[0])} of "
        f"{formats.count(blocks)} main branches."
      )
    elif len(own) == 1:
      sentences.append(f"{net.label}: all of the gradient comes through one path of {formats.count(blocks)} blocks.")
  return tuple(sentences)
