"""Blocks: size of each block's response relative to its input."""

import pandas as pd

from resjax.analysis import formats
from resjax.analysis.curves import add_labels, last_capture, summarize_seeds
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import Section, line_panel, plotted_networks, study_commands


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no block responses were recorded."""
  lines = last_capture(logs.studies["blocks"])
  lines = lines[lines["input_std"] > 0].dropna(subset=["branch_std"])
  if lines.empty:
    return None
  lines = lines.assign(ratio=lines["branch_std"] / lines["input_std"])
  # If a run was studied with several settings, the first one counts.
  lines = lines.drop_duplicates(["id", "step", "stage", "block"]).sort_values(["stage", "block"], kind="stable")
  lines = lines.assign(position=lines.groupby("id").cumcount() + 1)
  curves = add_labels(summarize_seeds(lines.groupby(["net", "step", "position"])["ratio"]), logs, ["step", "position"])
  axes = ("block", "response over input")
  return Section(
    key="blocks",
    title="Block responses relative to the input",
    findings=_findings(logs, curves),
    caption="Standard deviation of the main branch before the addition, divided by that of the block’s input. In "
    "plain networks (dashed), the branch replaces the input.",
    panels=(line_panel(logs, curves, "position", "blocks", "Response relative to the input", axes, log=True),),
    data={"blocks": curves},
    commands=study_commands(logs, "responses"),
  )


def _findings(logs: Logs, curves: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for net in plotted_networks(logs, curves):
    own = curves[curves["net"] == net.key]["mean"]
    sentences.append(
      f"{net.label}: the response of a block is {formats.figures(own.median())} times its input (median of {len(own)} "
      f"blocks; range {formats.figures(own.min())} to {formats.figures(own.max())})."
    )
  return tuple(sentences)
