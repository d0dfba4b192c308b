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

_CODE = ("Command", "Studied by", "Commit", "Data digest")  # items that are written as code
_HEADINGS = ("network", "test error %", "paper %", "seeds", "schedule", "verdict", "study")
_NUMERIC = _HEADINGS[1:5]


def update(root: str | os.PathLike[str], paths: Iterable[Path]) -> None:
  """Replaces the text between the lines `<!-- NAME -->` and `<!-- end of NAME -->` in Markdown files.

  "figure" is the figure `figures/overview.svg` below `root`, from the study that has most of the paper's networks.
  "results" is a table of these networks, each taken from the study that trained it longest. "findings" are the
  findings and the provenance of the study whose directory contains the file. All files are replaced atomically, or
  none if one of them cannot be.

  Args:
    root: Directory of one study, or a parent of several.
    paths: Markdown files.

  Raises:
    records.RecordsError: `root` is not a directory, contains no runs, or is itself a run; a file does not exist, or
      does not contain a pair of these lines, each once and in this order; or the file of findings is not in the
      directory of a study.
  """
  root = files.as_path(root)
  directories = records.find_runs(root)
  if not directories or directories == [root]:
    raise records.RecordsError(f"{root}: holds no run (no run.json one or two levels below)")
  experiments = {directory: load(directory) for directory in sorted({run.parent for run in directories})}
  networks = longest_trained.paper_networks(experiments)
  panel = overview.figure(overview.largest_study(networks)) if networks else None
  updated = {path: _updated_text(path, root, experiments, networks, panel) for path in paths}
  if panel:
    files.write_atomically(_figure_path(root), panel.svg.encode())
  for path, text in updated.items():
    files.write_atomically(path, text.encode())


def _figure_path(root: Path) -> Path:
  folder = root / "figures"
  folder.mkdir(exist_ok=True)
  return folder / f"{overview.NAME}.svg"


def _updated_text(
  path: Path, root: Path, experiments: Mapping[Path, Logs], networks: list[TrainedNetwork], panel: Panel | None
) -> str:
  """Returns the content of a Markdown file with its generated texts replaced."""
  if not path.is_file():
    raise records.RecordsError(f"{path}: no such file")
  text = old = path.read_text("utf-8")
  generators = {
    "results": lambda: "\n\n".join(_results(experiments, longest_trained.longest_trained(networks))),
    "figure": lambda: _figure_text(networks, panel, _relative_path(root / "figures", path.parent)),
    "findings": lambda: _findings(experiments, path),
  }
  marks = {name: (f"<!-- {name} -->\n", f"<!-- end of {name} -->\n") for name in generators}
  present = {name: pair for name, pair in marks.items() if any(mark in old for mark in pair)}
  for name, (begin, end) in (present or marks).items():
    before, has_begin, rest = text.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end or begin in rest or end in after:
      raise records.RecordsError(
        f"{path}: must have the lines {begin.strip()} and {end.strip()}, once each and in this order"
      )
    text = f"{before}{begin}\n{generators[name]()}\n\n{end}{after}"
  return text


def _figure_text(networks: list[TrainedNetwork], panel: Panel | None, figures: str) -> str:
  """Returns the figure with its caption, or a sentence if there is nothing to draw."""
  if panel is None:
    return "No curves to draw yet."
  drawn = overview.largest_study(networks)[0]
  source = f"`{drawn.study}`: {_share(drawn.share)} of the paper’s schedule"
  caption = f"Fig. 6 (top) and Fig. 7 (bottom) of the paper, from {source}."
  return f"![{panel.description}]({figures}/{overview.NAME}.svg)\n\n{caption}"


def _results(experiments: Mapping[Path, Logs], chosen: list[TrainedNetwork]) -> list[str]:
  """Returns the table of results and its explanations as paragraphs."""
  if not chosen:
    return ["No network of the paper has been trained to the end here."]
  rule = ("---:" if heading in _NUMERIC else "---" for heading in _HEADINGS)
  table = "\n".join((_table_row(_HEADINGS), _table_row(rule), *(_table_row(_cells(each)) for each in chosen)))
  by_study = longest_trained.deviations_by_study(chosen).items()
  deviations = "\n".join(
    f"- {study if study == longest_trained.ALL else f'`{study}`'}: {'; '.join(words)}."
    for study, words in by_study
    if words
  )
  paragraphs = [table, _explanation(experiments, chosen)]
  if deviations:
    paragraphs.append(f"Deviations from the paper that can change the result:\n\n{deviations}")
  return paragraphs


def _cells(trained: TrainedNetwork) -> tuple[str, ...]:
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
  """Formats a share in percent with two significant digits."""
  return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _explanation(experiments: Mapping[Path, Logs], chosen: list[TrainedNetwork]) -> str:
  """Returns an explanation of the table, with the known spread over seeds if a network has a single seed."""
  sampling_errors = sorted(each.errors["sampling_error"] for each in chosen)
  spreads = longest_trained.known_seed_spreads(experiments)
  starred = any(each.claim["source"] == "other reproductions" for each in chosen)
  sentences = [
    "Test error at the last step on all test images: mean ± standard deviation over seeds. The sampling error of the "
    f"test set is {formats.percent(sampling_errors[0])} to {formats.percent(sampling_errors[-1])} points.",
    f"“Schedule” is the share of the paper’s {paper.CIFAR10_STEPS:,} steps of {paper.CIFAR10_BATCH_SIZE} images. "
    "“Agrees” means within two standard errors.",
  ]
  sentences += (
    ["\\* From other reproductions, because the paper shows plain networks only as curves."] if starred else []
  )
  if any(each.errors["done"] == 1 for each in chosen):
    known = paper.CIFAR10_RESIDUAL[110]
    sentences.append(
      "One seed does not show the standard deviation over seeds, which is "
      f"{formats.percent(known.spread)} points in the paper’s {known.runs} runs of ResNet-110"
      + (f" and {formats.percent(spreads[0])} to {formats.percent(spreads[-1])} in studies here" if spreads else "")
      + ". The standard error of one seed includes the pooled standard deviation of the networks with several seeds in "
      "its study or, without these, that of ResNet-110 in the paper."
    )
  return " ".join(sentences)


def _findings(experiments: Mapping[Path, Logs], path: Path) -> str:
  """Returns findings and provenance of the study whose directory contains the file `path`."""
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
    items = [f"`{value}`" if name in _CODE else value for value in values]
    lines += [f"- {name}: {items[0]}"] if len(items) == 1 else [f"- {name}:", *(f"  - {value}" for value in items)]
  return "\n".join([*lines, "", "</details>"])


def _relative_path(path: Path, folder: Path) -> str:
  """Returns a path relative to a folder, with slashes; a path in a bucket is returned as it is."""
  return str(path) if files.in_bucket(path) else Path(os.path.relpath(path, folder)).as_posix()


def _table_row(cells: Iterable[str]) -> str:
  return f"| {' | '.join(cells)} |"
