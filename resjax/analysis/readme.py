"""Results and findings of all studies in a directory, written into Markdown files."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from resjax import files, paper, records
from resjax.analysis import formats, longest_trained, overview, sections
from resjax.analysis.logs import Logs, load
from resjax.analysis.longest_trained import TrainedNetwork
from resjax.analysis.plotting import Panel
from resjax.analysis.provenance import provenance
from resjax.analysis.sections.paper_numbers import paper_number

_QUOTED = ("Command", "Studied by", "Commit", "Data digest")  # as code
_HEADINGS = ("network", "test error %", "paper %", "seeds", "schedule", "verdict", "study")
_NUMBERS = _HEADINGS[1:5]


def update(root: str | os.PathLike[str], paths: Iterable[Path]) -> None:
  """Replaces the text between the lines `<!-- NAME -->` and `<!-- end of NAME -->` in Markdown files.

  "figure" is the figure `figures/overview.svg` below `root`. "results" is a table of the paper's networks, each taken
  from the study that trained it longest. "findings" are the findings and the provenance of the study whose directory
  holds the file. All files are replaced atomically, or none if one of them cannot be.

  Args:
    root: Directory of one study, or a parent of several.
    paths: Markdown files.

  Raises:
    records.RecordsError: `root` is not a directory, holds no runs, or is itself a run; a file does not exist, has none
      of the texts, or not both lines once and in this order; findings are asked for outside of a study's directory.
  """
  root = files.as_path(root)
  directories = records.find_runs(root)
  if not directories or directories == [root]:
    raise records.RecordsError(f"{root}: holds no run (no run.json one or two levels below)")
  experiments = {directory: load(directory) for directory in sorted({run.parent for run in directories})}
  chosen = longest_trained.longest_trained(experiments)
  drawn = overview.figure(chosen) if chosen else None
  renewed = {path: _renewed(path, root, experiments, chosen, drawn) for path in paths}
  if drawn:
    files.write_atomically(_figure(root), drawn.svg.encode())
  for path, text in renewed.items():
    files.write_atomically(path, text.encode())


def _figure(root: Path) -> Path:
  folder = root / "figures"
  folder.mkdir(exist_ok=True)
  return folder / f"{overview.NAME}.svg"


def _renewed(
  path: Path, root: Path, experiments: Mapping[Path, Logs], chosen: list[TrainedNetwork], drawn: Panel | None
) -> str:
  if not path.is_file():
    raise records.RecordsError(f"{path}: no such file")
  whole = old = path.read_text("utf-8")
  written = {
    "results": lambda: "\n\n".join(_results(experiments, chosen)),
    "figure": lambda: _figure_text(chosen, drawn, _seen_from(path.parent, root / "figures")),
    "findings": lambda: _findings(experiments, path),
  }
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


def _figure_text(chosen: list[TrainedNetwork], drawn: Panel | None, figures: str) -> str:
  """Returns the figure with its caption, or a sentence if there is nothing to draw."""
  if drawn is None:
    return "No curves to draw yet."
  study = overview.best_study(chosen)[0].study
  caption = f"Fig. 6 (top) and Fig. 7 (bottom) of the paper, from `{study}`."
  return f"![{drawn.description}]({figures}/{overview.NAME}.svg)\n\n{caption}"


def _results(experiments: Mapping[Path, Logs], chosen: list[TrainedNetwork]) -> list[str]:
  """Returns the table of results and its explanations as paragraphs."""
  if not chosen:
    return ["No network of the paper has been trained to the end here."]
  rule = ("---:" if heading in _NUMBERS else "---" for heading in _HEADINGS)
  table = "\n".join((_line(_HEADINGS), _line(rule), *(_line(_row(each)) for each in chosen)))
  differing = longest_trained.deviations_by_study(chosen).items()
  differs = "\n".join(
    f"- {study if study == longest_trained.ALL else f'`{study}`'}: {'; '.join(words)}."
    for study, words in differing
    if words
  )
  said = [table, _explained(experiments, chosen)]
  return [*said, f"Deviations from the paper that can change the result:\n\n{differs}"] if differs else said


def _row(trained: TrainedNetwork) -> tuple[str, ...]:
  errors = trained.errors
  return (
    trained.label,
    formats.percent(errors["test_error"], errors["test_spread"]),
    paper_number(trained.claim),
    str(errors["done"]),
    _share(trained.share),
    trained.verdict,
    f"`{trained.study}`",
  )


def _share(share: float) -> str:
  """In percent, to two figures."""
  return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _explained(experiments: Mapping[Path, Logs], chosen: list[TrainedNetwork]) -> str:
  """Explains the table, and for single seeds states the known spread over seeds."""
  sampled = sorted(each.errors["sampling_error"] for each in chosen)
  spreads = longest_trained.known_seed_spreads(experiments)
  starred = any(each.claim["source"] == "other reproductions" for each in chosen)
  said = [
    "Test error at the last step on all test images: mean ± standard deviation over seeds. The sampling error of the "
    f"test set is {formats.percent(sampled[0])} to {formats.percent(sampled[-1])} points.",
    f"“Schedule” is the share of the paper’s {paper.CIFAR10_STEPS:,} steps of {paper.CIFAR10_BATCH_SIZE} images. "
    "“Agrees” means within two standard errors.",
  ]
  said += ["\\* From other reproductions, because the paper shows plain networks only as curves."] if starred else []
  if any(each.errors["done"] == 1 for each in chosen):
    known = paper.CIFAR10_RESIDUAL[110]
    said.append(
      "One seed does not show the standard deviation over seeds, which is "
      f"{formats.percent(known.spread)} points in the paper’s {known.runs} runs of ResNet-110"
      + (f" and {formats.percent(spreads[0])} to {formats.percent(spreads[-1])} in studies here." if spreads else ".")
    )
  return " ".join(said)


def _findings(experiments: Mapping[Path, Logs], path: Path) -> str:
  """Returns findings and provenance of the study whose directory holds the file `path`."""
  folder = path.parent.resolve()
  studies = {directory.resolve(): logs for directory, logs in experiments.items() if not files.in_bucket(directory)}
  if (logs := studies.get(folder)) is None:
    raise records.RecordsError(
      f"{path}: findings are written to a file in the directory of a study: must be in one of "
      f"{', '.join(str(directory) for directory in experiments)}"
    )
  lines = []
  for section in sections.build_all(logs):
    if section.findings:
      lines += [f"### {section.title}", "", *(f"- {sentence}" for sentence in section.findings), ""]
  lines += ["<details><summary>Provenance</summary>", ""]
  for name, values in provenance(logs).items():
    shown = [f"`{value}`" if name in _QUOTED else value for value in values]
    lines += [f"- {name}: {shown[0]}"] if len(shown) == 1 else [f"- {name}:", *(f"  - {value}" for value in shown)]
  return "\n".join([*lines, "", "</details>"])


def _seen_from(folder: Path, path: Path) -> str:
  return str(path) if files.in_bucket(path) else Path(os.path.relpath(path, folder)).as_posix()


def _line(cells: Iterable[str]) -> str:
  return f"| {' | '.join(cells)} |"
