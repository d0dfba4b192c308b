"""Training: the paper's Fig. 6."""

import pandas as pd

from resjax import records
from resjax.analysis import figures, formats, tables
from resjax.analysis.curves import error_curves
from resjax.analysis.logs import Logs
from resjax.analysis.networks import key_without_depth
from resjax.analysis.sections.section import Section, run_commands


def build(logs: Logs) -> Section | None:
  """Also there when nothing was logged yet: then it says so. None where all nets were trained elsewhere."""
  if set(logs.runs["steps"]) == {0}:
    return None
  panels = figures.figure6(logs)
  curves = error_curves(logs)
  if not panels:
    return Section("training", "Training", ("No run has logged an error yet.",), data={"error_curves": curves})
  bold = "test" if figures.evaluated_split(curves) == "test" else "validation"
  caption = (
    "Whether depth helps or hurts, as in the paper’s Fig. 6: in which panel do deeper nets end lower, and does the "
    f"dashed training error say the same as the bold {bold} error?"
  )
  if (curves["runs"] > 1).any():
    caption += " Bands span the seeds."
  if (logs.runs["status"] == records.FAILED).any():
    caption += " A cross marks where a run failed."
  return Section(
    key="training",
    title="Training",
    findings=_says(tables.errors(logs)),
    caption=caption,
    panels=tuple(panels),
    data={"error_curves": curves},
    commands=run_commands(logs),
  )


def _says(errors: pd.DataFrame) -> tuple[str, ...]:
  """Of nets that are alike but for depth, where test and training error go from the shallowest to the deepest."""
  done = errors[errors["test_error"].notna()].sort_values("depth", kind="stable")
  sentences = []
  for _, alike in done.groupby(done["net"].map(key_without_depth), sort=False):
    first, last = alike.iloc[0], alike.iloc[-1]
    # A net that was trained elsewhere has no training error.
    known = alike[["test_error", "train_error"]].iloc[[0, -1]].dropna(axis="columns")
    starts, ends = ([formats.percent(error) for error in known.iloc[row]] for row in (0, -1))
    if len(alike) > 1:
      test, *train = (f"from {start} to {end} %" for start, end in zip(starts, ends, strict=True))
      words = f"From {first['label']} to {last['label']} the test error goes {test}"
      words += "".join(f", the training error {change}" for change in train)
    else:
      test, *train = starts
      words = f"{first['label']} ends at a test error of {test} %"
      words += "".join(f" and a training error of {error} %" for error in train)
    sentences.append(f"{words}.")
  return tuple(sentences) or ("No run has finished yet: the curves show how far they are.",)
