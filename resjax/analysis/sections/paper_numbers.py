"""Comparison with the paper: published errors, errors here, and whether they agree."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax.analysis import formats, paper_comparison
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import Column, Section, Table, footnotes, join_words, run_commands

_COLUMNS = (
  *(Column("network", number=False), Column("measure", number=False), Column("here"), Column("paper")),
  *(Column("difference", "± standard error, in points"), Column("verdict", number=False)),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if the paper has no errors for the networks here."""
  table = paper_comparison.compare_with_paper(logs)
  if table.empty:
    return None
  marks, notes = footnotes([row.split("; ") if row else [] for row in table["reason"]])
  rows = [
    [
      *(row["label"], row["claim"], formats.percent(row["here"]), paper_number(row)),
      *(_difference(row), f"{row['verdict']} {mark}".strip()),
    ]
    for row, mark in zip(table.to_dict("records"), marks, strict=True)
  ]
  caption = "Errors in percent, mean over the finished runs. Notes give reasons and remaining deviations."
  comparable = bool((table["verdict"] != paper_comparison.NOT_COMPARABLE).any())
  return Section(
    key="paper",
    title="Comparison with the paper",
    findings=(findings := _findings(table)),
    headlines=findings if comparable else (),
    caption=f"Agreement means a difference of at most {paper_comparison.MAX_STANDARD_ERRORS} standard errors. "
    "The standard error combines the spread over seeds, here and in the paper, with the sampling error of the test "
    "set. For a single seed, the notes say which spread is assumed.",
    tables=(Table(caption, _COLUMNS, rows, notes, folded=not comparable),),
    data={"paper_comparison": table},
    commands=run_commands(logs),
  )


def _findings(table: pd.DataFrame) -> tuple[str, ...]:
  counts = table["verdict"].value_counts()
  if counts.get(paper_comparison.NOT_COMPARABLE, 0) == len(table):
    return ("The errors cannot be compared with the published ones; paper_comparison.csv lists the reasons.",)
  clauses = []
  for verdict, words in (
    (paper_comparison.AGREES, "agree within error"),
    (paper_comparison.DIFFERS, "differ"),
    (paper_comparison.NOT_COMPARABLE, "cannot be compared (reasons in paper_comparison.csv)"),
  ):
    if counts.get(verdict, 0):
      clauses.append(f"{counts[verdict]} {words}")
  numbers = "number" if len(table) == 1 else "numbers"
  return (f"Of {len(table)} published {numbers} for these networks, {join_words(clauses)}.",)


def paper_number(row: Mapping[Any, Any]) -> str:
  """Formats the published number of a row of `compare_with_paper` in percent; other reproductions get a star."""
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
