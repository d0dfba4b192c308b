"""Training: the paper's Fig. 6."""

import pandas as pd

from resjax import records
from resjax.analysis import figures, formats, tables
from resjax.analysis.curves import error_curves
from resjax.analysis.logs import Logs
from resjax.analysis.networks import key_without_depth
from resjax.analysis.sections.section import Section, run_commands


def build(logs: Logs) -> Section | None:
  """Builds the section, even if nothing has been logged yet; None if all networks were trained elsewhere."""
  if set(logs.runs["steps"]) == {0}:
    return None
  panels = figures.figure6(logs)
  curves = error_curves(logs)
  if not panels:
    return Section("training", "Training", ("No errors have been logged yet.",), data={"error_curves": curves})
  bold = "test" if figures.evaluated_split(curves) == "test" else "validation"
  caption = f"Fig. 6: {bold} error (bold) and training error (dashed) against step. Labels are depths."
  if len(logs.average_precision):
    caption += (
      " The test error of a detector is 1 − mAP at an IoU of 0.5, its training error the fraction of sampled regions "
      "that are misclassified."
    )
  if (curves["runs"] > 1).any():
    caption += " Bands: range over seeds."
  if (logs.runs["status"] == records.FAILED).any():
    caption += " Crosses: failed runs."
  return Section(
    key="training",
    title="Training",
    findings=_findings(tables.errors(logs)),
    caption=caption,
    panels=tuple(panels),
    data={"error_curves": curves},
    commands=run_commands(logs),
  )


def _findings(errors: pd.DataFrame) -> tuple[str, ...]:
  """Compares test and training errors of the shallowest and the deepest network of those that differ only in depth."""
  done = errors[errors["test_error"].notna()].sort_values("depth", kind="stable")
  sentences = []
  for _, group in done.groupby(done["net"].map(key_without_depth), sort=False):
    first, last = group.iloc[0], group.iloc[-1]
    # A network trained elsewhere has no training error.
    known = group[["test_error", "train_error"]].iloc[[0, -1]].dropna(axis="columns")
    starts, ends = ([formats.percent(error) for error in known.iloc[row]] for row in (0, -1))
    if len(group) > 1:
      test, *train = (f"from {start} to {end} %" for start, end in zip(starts, ends, strict=True))
      words = f"From {first['label']} to {last['label']}, the test error changes {test}"
      words += "".join(f" and the training error {change}" for change in train)
    else:
      test, *train = starts
      words = f"{first['label']} ends with a test error of {test} %"
      words += "".join(f" and a training error of {error} %" for error in train)
    sentences.append(f"{words}.")
  return tuple(sentences) or ("No run has finished yet; the curves show progress so far.",)
