"""Identity construction: a trained net deepened by blocks that do nothing, and what training on makes of it."""

import pandas as pd

from resjax.analysis import formats
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import Column, Section, Table, plotted_networks, study_commands

_COLUMNS = (
  *(Column("net", number=False), Column("seed"), Column("layers", "before"), Column("layers", "after")),
  *(Column("largest change", "of a logit"), Column("error", "before"), Column("error", "deepened")),
  *(Column("trained on", number=False), Column("from the start", number=False)),
)


def build(logs: Logs) -> Section | None:
  """None where no net was deepened."""
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
    title="Deepened by the identity",
    findings=_says(lines, labels),
    caption="The paper’s opening argument: a deeper net that copies a shallower one and adds identity layers is as "
    "good as it, so that training a deeper net should never do worse. The two runs named show what the solver makes of "
    "that start, and what it finds without.",
    tables=(Table("Errors in percent; the runs are directories below the work directory.", _COLUMNS, rows),),
    data={"identity": lines},
    commands=study_commands(logs, "identity"),
  )


def _says(lines: pd.DataFrame, labels: dict[str, str]) -> tuple[str, ...]:
  return tuple(
    f"{labels[row['net']]} deepened from {formats.count(row['from_depth'])} to {formats.count(row['to_depth'])} "
    f"layers: on {formats.count(row['images'])} images no logit changes by more than "
    f"{formats.figures(row['difference'], 2)}, and the error goes from {formats.percent(row['error_before'])} to "
    f"{formats.percent(row['error'])} %."
    for row in lines.to_dict("records")
  )
