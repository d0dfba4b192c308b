"""Identity construction: error of trained networks that were deepened by identity blocks."""

import pandas as pd

from resjax.analysis import formats
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import Column, Section, Table, plotted_networks, study_commands

_COLUMNS = (
  *(Column("network", number=False), Column("seed"), Column("layers", "before"), Column("layers", "after")),
  *(Column("largest change", "of a logit"), Column("error", "before"), Column("error", "deepened")),
  *(Column("further training", number=False), Column("from scratch", number=False)),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no network was deepened."""
  lines = logs.studies["identity"]
  if lines.empty:
    return None
  labels = {net.key: net.label for net in plotted_networks(logs, lines)}
  rows = [
    [
      *(labels[row["net"]], formats.count(row["seed"]), formats.count(row["from_depth"])),
      *(formats.count(row["to_depth"]), formats.figures(row["difference"], 2)),
      *(formats.percent(row["error_before"]), formats.percent(row["error"])),
      *(formats.MISSING if pd.isna(row[key]) else str(row[key]) for key in ("run", "scratch")),
    ]
    for row in lines.to_dict("records")
  ]
  return Section(
    key="identity",
    title="Identity construction",
    findings=_findings(lines, labels),
    caption="The paper’s opening argument (Sec. 1): a deeper network that copies a shallower one and adds identity "
    "layers is as good, so training a deeper network should never do worse. “Further training” starts from the "
    "deepened network, “from scratch” from random weights.",
    tables=(Table("Errors in percent. Runs are named by their directories below the work directory.", _COLUMNS, rows),),
    data={"identity": lines},
    commands=study_commands(logs, "identity"),
  )


def _findings(lines: pd.DataFrame, labels: dict[str, str]) -> tuple[str, ...]:
  return tuple(
    f"{labels[row['net']]} deepened from {formats.count(row['from_depth'])} to {formats.count(row['to_depth'])} "
    f"layers by identity blocks: on {formats.count(row['images'])} images, the largest change of a logit is "
    f"{formats.figures(row['difference'], 2)}, and the error is {formats.percent(row['error_before'])} % before and "
    f"{formats.percent(row['error'])} % after."
    for row in lines.to_dict("records")
  )
