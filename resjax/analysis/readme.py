"""The table of results as Markdown, kept up to date inside a text file."""

import os
from collections.abc import Iterable
from pathlib import Path

from resjax import records
from resjax.analysis import formats, tables, verdicts
from resjax.analysis.frames import Logs, load
from resjax.analysis.sections.published import paper_number

BEGIN, END = "<!-- results -->", "<!-- end of results -->"
_HEADINGS = (
  *("study", "net", "seeds", "training error %", "test error %", "sampling error"),
  *("paper %", "steps", "data", "verdict"),
)


def table(root: str | os.PathLike[str]) -> str:
  """The nets of every experiment below `root`, one line each.

  Errors are of the last step, in percent, the mean over the finished runs, with their sample standard deviation where
  there are several; the sampling error is the standard error of one run's test error.

  Raises:
    records.RecordsError: `root` is not a directory or holds no runs.
  """
  root = Path(root)
  experiments = sorted({directory.parent for directory in records.find_runs(root)})
  if not experiments:
    raise records.RecordsError(f"{root}: holds no run (no run.json one or two levels below)")
  lines = [_line(_HEADINGS), _line("---" for _ in _HEADINGS)]
  for directory in experiments:
    lines += _rows(directory.name, load(directory))
  return "\n".join(lines)


def insert(path: Path, text: str) -> None:
  """Replaces what stands in a file between the lines `BEGIN` and `END`.

  Raises:
    records.RecordsError: the file is not there, or has not each of the two lines once, in this order.
  """
  if not path.is_file():
    raise records.RecordsError(f"{path}: no such file")
  whole = path.read_text("utf-8")
  before, begin, rest = whole.partition(f"{BEGIN}\n")
  _, end, after = rest.partition(f"{END}\n")
  if not begin or not end or BEGIN in rest or END in after:
    raise records.RecordsError(f"{path}: must have the lines {BEGIN} and {END}, once each and in this order")
  path.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", "utf-8")


def _rows(study: str, logs: Logs) -> list[str]:
  claims = verdicts.verdicts(logs)
  published = claims[claims["claim"] == "test error"].set_index("net")
  rows = []
  for row in tables.errors(logs).to_dict("records"):
    runs = logs.runs[(logs.runs["net"] == row["net"]) & (logs.runs["status"] == records.DONE)]
    claim = dict(published.loc[row["net"]]) if row["net"] in published.index else None
    rows.append(
      _line(
        (
          *(study, row["label"], str(row["done"])),
          formats.percent(row["train_error"], row["train_spread"]),
          formats.percent(row["test_error"], row["test_spread"]),
          formats.percent(row["sampling_error"]),
          paper_number(claim) if claim else formats.MISSING,
          ", ".join(formats.count(steps) for steps in runs["steps"].unique()),
          ", ".join(runs["data_name"].dropna().unique()),
          _verdict(claim) if claim else "no number in the paper",
        )
      )
    )
  return rows


def _verdict(claim: dict) -> str:
  because = claim["because"]
  return f"{claim['verdict']}: {because}" if because else claim["verdict"]


def _line(cells: Iterable[str]) -> str:
  return f"| {' | '.join(cells)} |"
