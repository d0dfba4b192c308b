"""Blocks: how strong a block's response is beside what it is added to."""

import pandas as pd

from resjax.analysis import formats
from resjax.analysis.curves import add_labels, last_capture, summarize_seeds
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import Section, line_panel, plotted_networks, study_commands


def build(logs: Logs) -> Section | None:
  """None where no net's blocks were captured."""
  lines = last_capture(logs.studies["blocks"])
  lines = lines[lines["input_std"] > 0].dropna(subset=["branch_std"])
  if lines.empty:
    return None
  lines = lines.assign(ratio=lines["branch_std"] / lines["input_std"])
  # A study captured otherwise comes after those before it; the first of each run is drawn.
  lines = lines.drop_duplicates(["id", "step", "stage", "block"]).sort_values(["stage", "block"], kind="stable")
  lines = lines.assign(position=lines.groupby("id").cumcount() + 1)
  curves = add_labels(summarize_seeds(lines.groupby(["net", "step", "position"])["ratio"]), logs, ["step", "position"])
  axes = ("block", "response over input")
  return Section(
    key="blocks",
    title="What a block adds to its input",
    findings=_says(logs, curves),
    caption="The standard deviation of a block’s main branch before the addition, over that of the block’s input. How "
    "much of what comes in does each block change, and is it less in deeper nets? In plain nets, drawn dashed, the "
    "branch takes the input’s place.",
    panels=(line_panel(logs, curves, "position", "blocks", "Response relative to the input", axes, log=True),),
    data={"blocks": curves},
    commands=study_commands(logs, "responses"),
  )


def _says(logs: Logs, curves: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for net in plotted_networks(logs, curves):
    own = curves[curves["net"] == net.key]["mean"]
    sentences.append(
      f"{net.label}: a block’s response is {formats.figures(own.median())} times its input (median of {len(own)} "
      f"blocks; {formats.figures(own.min())} to {formats.figures(own.max())})."
    )
  return tuple(sentences)
