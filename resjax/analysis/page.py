"""The report: one self-contained page an experiment, its tables as CSV and its figures as SVG."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from resjax import records
from resjax.analysis import figures, formats, style, tables
from resjax.analysis.curves import error_curves, response_curves
from resjax.analysis.frames import Logs, load
from resjax.analysis.nets import nets

# From good to bad; a status that is not ours is listed run by run only.
_COUNTED = (*(records.DONE, records.RUNNING, records.PENDING, records.PREEMPTED, records.FAILED),)


def build(root: str | os.PathLike[str]) -> Path:
  """Writes the page of every experiment at or below `root` from its logs alone.

  An experiment is a directory that holds run directories. Beside its report.html stand
  tables/*.csv and figures/*.svg. Where `root` is a parent of experiments it gets an index.html.
  The same logs give the same bytes.

  Returns:
    The page to open: report.html, or index.html for a parent.

  Raises:
    records.RecordsError: `root` is not a directory, holds no runs, or is itself a run.
  """
  root = Path(root)
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
  index.write_text(_template("index.html").render(experiments=entries, theme=style.THEME), "utf-8")
  return index


def _experiment_page(directory: Path, logs: Logs) -> Path:
  errors, runs = tables.errors(logs), tables.progress(logs)
  csv = {
    "errors": errors,
    "runs": runs,
    "deviations": tables.deviations(logs),
    "events": tables.events(logs),
    "error_curves": error_curves(logs),
    "responses_original": response_curves(logs, "original"),
    "responses_sorted": response_curves(logs, "sorted"),
  }
  (directory / "tables").mkdir(exist_ok=True)
  for name, frame in csv.items():
    frame.to_csv(directory / "tables" / f"{name}.csv", index=False, lineterminator="\n")
  drawn = {"fig6": figures.figure6(logs), "fig7": figures.figure7(logs)}
  (directory / "figures").mkdir(exist_ok=True)
  for panels in drawn.values():
    for panel in panels:
      (directory / "figures" / f"{panel.name}.svg").write_text(panel.svg, "utf-8")
  html = _template("report.html").render(
    **_heading(directory, logs),
    theme=style.THEME,
    errors=errors.to_dict("records"),
    runs=runs.to_dict("records"),
    deviations=csv["deviations"].to_dict("records"),
    events=csv["events"].to_dict("records"),
    problems=logs.problems,
    figures={name: [_figure(panel) for panel in panels] for name, panels in drawn.items()},
    evaluated=figures.evaluated_split(csv["error_curves"]),
    dense=figures.DENSE,
    has_dense=bool((csv["responses_original"]["layers"] > figures.DENSE).any()),
    unfinished=_unfinished_captures(logs),
    failed=bool((logs.runs["status"] == records.FAILED).any()),
    several_seeds=bool((errors["runs"] > 1).any()),
    has=_filled_columns(errors),
    provenance=_provenance(logs),
  )
  page = directory / "report.html"
  page.write_text(html, "utf-8")
  return page


def _heading(directory: Path, logs: Logs) -> dict[str, Any]:
  """What names an experiment and says how far it is, for its page and for the index."""
  runs = logs.runs
  counts = runs["status"].value_counts()
  return {
    "title": directory.resolve().name,
    "question": next(iter(runs["question"].dropna()), None),
    "total": len(runs),
    "counts": [(status, int(counts[status])) for status in _COUNTED if status in counts],
    "unreadable": len(logs.problems),
  }


def _figure(panel: figures.Panel) -> dict[str, str]:
  svg = style.inline(panel.svg, panel.name, panel.description)
  return {"name": panel.name, "svg": svg}


def _unfinished_captures(logs: Logs) -> str:
  """Names the nets whose responses are not those of a finished training, with the step."""
  steps = logs.responses.groupby("net")["step"].max()
  total = logs.runs.groupby("net")["steps"].max().astype("float64")
  return ", ".join(
    f"{net.label} at step {formats.count(steps[net.key])} of {formats.count(total[net.key])}"
    for net in nets(logs.runs)
    if net.key in steps and steps[net.key] != total[net.key]
  )


def _filled_columns(errors: pd.DataFrame) -> Mapping[str, bool]:
  return {str(column): bool(errors[column].notna().any()) for column in errors.columns}


def _provenance(logs: Logs) -> list[tuple[str, list[str]]]:
  """How the runs were made: each distinct value once, in the order of the runs."""
  named = (
    ("Command", "command"),
    ("Commit", "commit"),
    ("Devices", "devices"),
    ("Versions", "versions"),
    ("Data set", "data_name"),
    ("Images", "data_images"),
    ("Data digest", "data_digest"),
  )
  runs = logs.runs.assign(data_images=logs.runs["data_images"].dropna().map(formats.count))
  found = ((name, runs[column].dropna().unique()) for name, column in named)
  return [(name, list(values)) for name, values in found if len(values)]


def _template(name: str) -> jinja2.Template:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  filters = (formats.percent, formats.published, formats.count, formats.short, formats.share)
  environment.filters |= {filter_.__name__: filter_ for filter_ in filters}
  return environment.get_template(name)
