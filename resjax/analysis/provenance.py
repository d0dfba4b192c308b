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
  """Returns the distinct values of each item, in the order of the runs; items without values are left out.

  The minutes are those of training and of the tests during it, over all runs; start, compilation and captures are not
  among them.
  """
  runs = logs.runs.assign(data_images=logs.runs["data_images"].dropna().map(formats.count))
  found = {"Command": list(run_commands(logs)), "Studied by": list(logs.studies["commands"]["command"].unique())}
  found |= {name: list(runs[column].dropna().unique()) for name, column in _RECORDED.items()}
  seconds = logs.metrics["seconds"].sum()
  found["Minutes"] = [formats.number(seconds / 60, 1)] if seconds else []
  return {name: values for name, values in found.items() if values}
