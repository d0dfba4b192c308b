"""Beside the paper: its numbers, ours, and whether they agree."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax.analysis import formats, paper_comparison
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import Column, Section, Table, join_words, run_commands

_COLUMNS = (
  *(Column("net", number=False), Column("measure", number=False), Column("here"), Column("paper")),
  *(Column("difference", "± standard error, in points"), Column("verdict", number=False)),
  Column("because, or with", number=False),
)


def build(logs: Logs) -> Section | None:
  """None where no net here is one of the paper's."""
  table = paper_comparison.compare_with_paper(logs)
  if table.empty:
    return None
  rows = [
    [
      *(row["label"], row["claim"], formats.percent(row["here"]), paper_number(row)),
      *(_difference(row), row["verdict"], row["because"] or formats.MISSING),
    ]
    for row in table.to_dict("records")
  ]
  caption = "Errors in percent, the mean over finished runs."
  return Section(
    key="paper",
    title="Beside the paper",
    findings=_says(table),
    caption=f"A difference of up to {paper_comparison.MAX_STANDARD_ERRORS} of its standard errors is called agreement. "
    "The standard error is made of the spread over seeds, here and there, and of the sampling error of the test set.",
    tables=(Table(caption, _COLUMNS, rows),),
    data={"verdicts": table},
    commands=run_commands(logs),
  )


def _says(table: pd.DataFrame) -> tuple[str, ...]:
  counts = table["verdict"].value_counts()
  found = []
  for verdict, words in (
    (paper_comparison.AGREES, "agree with it within error"),
    (paper_comparison.DIFFERS, "differ from it"),
    (paper_comparison.NOT_COMPARABLE, "cannot be compared with it, for the reasons named"),
  ):
    if counts.get(verdict, 0):
      found.append(f"{counts[verdict]} {words}")
  numbers = "number" if len(table) == 1 else "numbers"
  return (f"Of {len(table)} {numbers} that the paper or other reproductions have for these nets, {join_words(found)}.",)


def paper_number(row: Mapping[Any, Any]) -> str:
  """The paper's number of a row of `compare_with_paper`, in percent; one of other reproductions has a star."""
  low, high = row["paper_low"], row["paper_high"]
  if pd.isna(low):
    return f"under {formats.percent(high)}"
  if pd.isna(high):
    return f"above {formats.percent(low)}"
  star = " *" if row["source"] == "other reproductions" else ""
  return (formats.percent(low) if low == high else f"{formats.percent(low)} to {formats.percent(high)}") + star


def _difference(row: dict) -> str:
  if pd.isna(row["difference"]):
    return formats.MISSING
  return f"{formats.signed(100 * row['difference'])} ± {100 * row['error']:.2f}"
