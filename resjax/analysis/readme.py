"""What the studies of a directory found, as Markdown, kept up to date inside text files."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from resjax import files, records
from resjax.analysis import formats, sections, tables, verdicts
from resjax.analysis.frames import Logs, load
from resjax.analysis.provenance import provenance
from resjax.analysis.sections.published import paper_number

_QUOTED = ("Command", "Studied by", "Commit", "Data digest")  # as code
_HEADINGS = (
  *("study", "net", "seeds", "training error %", "test error %", "sampling error"),
  *("paper %", "steps", "data", "verdict"),
)


def update(root: str | os.PathLike[str], paths: Iterable[Path]) -> None:
  """Renews in text files what stands between the lines `<!-- NAME -->` and `<!-- end of NAME -->`, for these names.

  "results" is a table of all nets of the studies at or below `root`, "findings" what their pages say, with their
  figures. Each file is replaced whole, and none is if one of them cannot be.

  Raises:
    records.RecordsError: `root` is not a directory, holds no runs, or is itself a run; a file is not there, has none of
      the texts, or not both lines once and in this order.
  """
  root = files.place(root)
  directories = records.find_runs(root)
  if not directories or directories == [root]:
    raise records.RecordsError(f"{root}: holds no run (no run.json one or two levels below)")
  experiments = {directory: load(directory) for directory in sorted({run.parent for run in directories})}
  renewed = {path: _renewed(path, experiments) for path in paths}
  for path, text in renewed.items():
    files.replace(path, text.encode())


def _renewed(path: Path, experiments: Mapping[Path, Logs]) -> str:
  if not path.is_file():
    raise records.RecordsError(f"{path}: no such file")
  whole = old = path.read_text("utf-8")
  written = {"results": lambda: _table(experiments), "findings": lambda: _findings(experiments, path.parent)}
  marks = {name: (f"<!-- {name} -->\n", f"<!-- end of {name} -->\n") for name in written}
  there = {name: both for name, both in marks.items() if any(mark in old for mark in both)}
  for name, (begin, end) in (there or marks).items():
    before, has_begin, rest = whole.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end or begin in rest or end in after:
      raise records.RecordsError(
        f"{path}: must have the lines {begin.strip()} and {end.strip()}, once each and in this order"
      )
    whole = f"{before}{begin}\n{written[name]()}\n\n{end}{after}"
  return whole


def _table(experiments: Mapping[Path, Logs]) -> str:
  """The nets of every experiment, one line each.

  Errors are of the last step, in percent, the mean over the finished runs, with their sample standard deviation where
  there are several; the sampling error is the standard error of one run's test error.
  """
  lines = [_line(_HEADINGS), _line("---" for _ in _HEADINGS)]
  for directory, logs in experiments.items():
    lines += _rows(directory.name, logs)
  return "\n".join(lines)


def _findings(experiments: Mapping[Path, Logs], folder: Path) -> str:
  """What each section of each page says, its figures and tables, and how the runs were made; for a file in `folder`."""
  lines = []
  for directory, logs in experiments.items():
    figures = _seen_from(folder, directory / "figures")
    lines += [f"## {directory.name}", "", *logs.runs["question"].dropna().unique()[:1], ""]
    for section in sections.every(logs):
      lines += [f"### {section.title}", "", *(f"- {sentence}" for sentence in section.says), ""]
      for panel in section.panels:
        lines += [f"![{panel.description}]({figures}/{panel.name}.svg)", ""]
      for each in section.tables:
        titles = (f"{column.title} ({column.small})" if column.small else column.title for column in each.columns)
        rule = ("---:" if column.number else "---" for column in each.columns)
        lines += [each.caption, "", _line(titles), _line(rule), *map(_line, each.rows), ""]
    lines += ["### How it was made", ""]
    for name, values in provenance(logs).items():
      shown = (f"`{value}`" if name in _QUOTED else value for value in values)
      lines.append(f"- {name}: {', '.join(shown)}")
    lines.append("")
  return "\n".join(lines).strip()


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


def _seen_from(folder: Path, path: Path) -> str:
  return str(path) if files.in_bucket(path) else Path(os.path.relpath(path, folder)).as_posix()


def _verdict(claim: dict) -> str:
  because = claim["because"]
  return f"{claim['verdict']}: {because}" if because else claim["verdict"]


def _line(cells: Iterable[str]) -> str:
  return f"| {' | '.join(cells)} |"
