"""Block responses: standard deviation of each main branch relative to the block's input."""

import pandas as pd

from resjax.analysis import formats, study_lines
from resjax.analysis.curves import add_labels, summarize_seeds
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import LineOptions, Section, line_panel, plotted_networks, study_commands


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no block responses were recorded."""
  lines = study_lines.of_last_step(logs, "blocks")
  lines = lines[lines["input_std"] > 0].dropna(subset=["branch_std"])
  if lines.empty:
    return None
  lines = lines.assign(ratio=lines["branch_std"] / lines["input_std"])
  lines = lines.sort_values(["stage", "block"], kind="stable")
  lines = lines.assign(position=lines.groupby("id").cumcount() + 1)
  curves = add_labels(summarize_seeds(lines.groupby(["net", "step", "position"])["ratio"]), logs, ["step", "position"])
  note = study_lines.settings_note(logs, lines, study_lines.SETTINGS["blocks"])
  labels = ("blocks", "Response relative to the input", "block", "response over input")
  return Section(
    key="blocks",
    title="Block responses relative to the input",
    findings=_findings(logs, curves),
    caption="Standard deviation of the main branch before the addition, divided by that of the block’s input. In "
    f"plain networks (dashed), the branch replaces the input.{note}",
    panels=(line_panel(logs, curves, "position", labels, LineOptions(log=True)),),
    data={"blocks": curves},
    commands=study_commands(logs, "responses"),
  )


def _findings(logs: Logs, curves: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for net in plotted_networks(logs, curves):
    ratios = curves[curves["net"] == net.key]["mean"]
    sentences.append(
      f"{net.label}: the response of a block is {formats.figures(ratios.median())} times its input (median of "
      f"{len(ratios)} blocks; range {formats.figures(ratios.min())} to {formats.figures(ratios.max())})."
    )
  return tuple(sentences)
