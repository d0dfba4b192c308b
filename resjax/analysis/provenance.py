"""Provenance of the runs: commands, versions, hardware, data and duration."""

from resjax.analysis import formats
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import run_commands

_RECORDED = {
  "Commit": "commit",
  "Devices": "devices",
  "Versions": "versions",
  "Data set": "data_name",
  "Images": "data_images",
  "Data digest": "data_digest",
}


def provenance(logs: Logs) -> dict[str, list[str]]:
  """Returns the distinct values of each item of provenance, in the order of the runs.

  Args:
    logs: Logs of one experiment.

  Returns:
    Values by item, without items that have none. "Minutes" is the duration of training and of the evaluations during
    it, summed over all runs, without startup, compilation and captures.
  """
  runs = logs.runs.assign(data_images=logs.runs["data_images"].dropna().map(formats.count))
  items = {"Command": list(run_commands(logs)), "Studied by": list(logs.studies["commands"]["command"].unique())}
  items |= {name: list(runs[column].dropna().unique()) for name, column in _RECORDED.items()}
  seconds = logs.metrics["seconds"].sum()
  items["Minutes"] = [formats.number(seconds / 60, 1)] if seconds else []
  return {name: values for name, values in items.items() if values}
