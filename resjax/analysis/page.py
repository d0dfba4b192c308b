"""The report: one self-contained page per experiment, tables as CSV and figures as SVG."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from resjax import files, records
from resjax.analysis import formats, learning_rates, sections, seed_statistics, style, tables
from resjax.analysis.logs import Logs, load
from resjax.analysis.plotting import Panel
from resjax.analysis.provenance import provenance
from resjax.analysis.sections.section import run_commands

_KEY_FIGURES = ("training", "responses")  # sections with Fig. 6 and Fig. 7, which open the page side by side
# From good to bad. An unknown status is shown only in the table of runs.
_STATUSES = (records.DONE, records.RUNNING, records.PENDING, records.PREEMPTED, records.FAILED)


def build(root: str | os.PathLike[str]) -> Path:
  """Writes the report of every experiment at or below a directory from the logs alone.

  An experiment is a directory that contains run directories. Its report consists of report.html, tables/*.csv and
  figures/*.svg. A parent of several experiments also gets an index.html. The same logs give the same bytes.

  Args:
    root: Directory of an experiment, or a parent of several.

  Returns:
    Path of the page to open: report.html, or index.html for a parent.

  Raises:
    records.RecordsError: `root` is not a directory, holds no runs, or is itself a run.
  """
  root = files.as_path(root)
  directories = records.find_runs(root)
  if not directories:
    raise records.RecordsError(f"{root}: holds no run (no run.json one or two levels below)")
  if directories == [root]:
    raise records.RecordsError(f"{root}: is a single run; give the experiment's directory above it")
  experiments = sorted({directory.parent for directory in directories})
  if experiments == [root]:
    return _experiment_page(root, load(root))
  entries = []
  for directory in experiments:
    logs = load(directory)
    page = _experiment_page(directory, logs)
    entries.append({"href": page.relative_to(root).as_posix(), **_heading(directory, logs)})
  index = root / "index.html"
  _replace(index, _template("index.html").render(experiments=entries, theme=style.THEME))
  return index


def _experiment_page(directory: Path, logs: Logs) -> Path:
  """Writes the report of one experiment and returns the path of its page."""
  tuned = learning_rates.at_best_rates(logs)
  errors, runs = errors_with_intervals(tuned), tables.progress(tuned)
  csv = {
    "errors": errors,
    "runs": runs,
    "deviations": tables.deviations(tuned),
    "events": tables.events(tuned),
  }
  parts = sections.build_all(logs)
  for section in parts:
    csv |= section.data
  key_figures = [section for section in parts if section.key in _KEY_FIGURES]
  panels = [panel for section in parts for panel in section.panels]
  _write_all(directory / "tables", {f"{name}.csv": _csv(frame) for name, frame in csv.items()})
  _write_all(directory / "figures", {f"{panel.name}.svg": panel.svg for panel in panels})
  html = _template("report.html").render(
    **_heading(directory, logs),
    theme=style.THEME,
    errors=errors.to_dict("records"),
    level=f"{seed_statistics.LEVEL:.0%}",
    summary=_summary(parts),
    key_figures=key_figures,
    sections=[section for section in parts if section not in key_figures],
    inline=_inline,
    runs=runs.to_dict("records"),
    deviations=csv["deviations"].to_dict("records"),
    at_chance=list(dict.fromkeys(csv["events"].loc[csv["events"]["name"] == records.AT_CHANCE, "id"])),
    events=tables.merge_shared_events(csv["events"], len(runs)).to_dict("records"),
    training_commands=run_commands(logs),
    problems=logs.problems,
    evaluated=next(iter(runs["split"]), "test"),
    has=_filled_columns(errors),
    provenance=provenance(logs),
  )
  page = directory / "report.html"
  _replace(page, html)
  return page


def _summary(parts: Sequence[sections.Section]) -> list[tuple[str, sections.Section]]:
  """Returns the sentences at the top of the page with their sections: the headlines, or else each first finding."""
  headlines = [
    (sentence, section)
    for section in sorted(parts, key=lambda part: part.key == "paper")
    for sentence in section.headlines
  ]
  return headlines or [(sentence, section) for section in parts for sentence in section.findings[:1]]


def errors_with_intervals(logs: Logs) -> pd.DataFrame:
  """Returns `tables.errors` with columns test_low and test_high, the interval of the mean test error over seeds."""
  table = tables.errors(logs)
  over_seeds = seed_statistics.intervals(logs)
  test = over_seeds[over_seeds["measure"] == "test"].set_index("net")
  return table.assign(test_low=table["net"].map(test["low"]), test_high=table["net"].map(test["high"]))


def _write_all(folder: Path, contents: Mapping[str, str]) -> None:
  folder.mkdir(exist_ok=True)
  for name, content in contents.items():
    _replace(folder / name, content)


def _replace(path: Path, content: str) -> None:
  """Replaces a file that other processes may write too, because each run of a sweep builds the report at its end."""
  files.write_atomically(path, content.encode(), alone=False)


def _csv(frame: pd.DataFrame) -> str:
  return str(frame.to_csv(index=False, lineterminator="\n"))


def _heading(directory: Path, logs: Logs) -> dict[str, Any]:
  """Returns title, question and number of runs by status of an experiment, for its page and the index."""
  runs = logs.runs
  counts = runs["status"].value_counts()
  return {
    "title": directory.resolve().name,
    "question": next(iter(runs["question"].dropna()), None),
    "total": len(runs),
    "counts": [(status, int(counts[status])) for status in _STATUSES if status in counts],
    "unreadable": len(logs.problems),
  }


def _inline(panel: Panel) -> str:
  return style.inline_svg(panel.svg, panel.name, panel.description)


def _filled_columns(errors: pd.DataFrame) -> Mapping[str, bool]:
  return {str(column): bool(errors[column].notna().any()) for column in errors.columns}


def _template(name: str) -> jinja2.Template:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  filters = (
    *(formats.percent, formats.published, formats.count, formats.short, formats.share, formats.figures),
    formats.number,
  )
  environment.filters |= {filter_.__name__: filter_ for filter_ in filters}
  return environment.get_template(name)
