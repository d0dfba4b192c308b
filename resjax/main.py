"""Runs, or continues, the runs of an experiment, and writes their report.

    python -m resjax.main --list                              the experiments
    python -m resjax.main --config FILE[:VARIANT] --list      the runs of one, nothing started
    python -m resjax.main --config FILE[:VARIANT] [--workdir DIR] [--only EXPR] [--index N] [--config.KEY=VALUE ...]

The same command again continues: finished runs are skipped, interrupted ones go on where they were. Exit codes: 0 all
done, 1 a run failed, 2 the command is wrong, 75 stopped by a signal after a clean save.
"""

import json

from absl import flags

from resjax import experiment_cli, listing, registry
from resjax.settings import ConfigError

_LIST = flags.DEFINE_bool("list", False, "Show the experiments, or with --config its runs, and start nothing.")
_LIST_FORMAT = flags.DEFINE_enum("list_format", "text", ["text", "json"], "Form of --list.")
_WORKDIR = flags.DEFINE_string("workdir", "runs", "Directory of the run directories; gs://BUCKET/FOLDER in a bucket.")


def main() -> int:
  """Lists or runs what the command line names; returns the exit code."""
  if _LIST.value:
    rows = (
      [listing.row(run) for run in experiment_cli.selected_runs()[1]]
      if experiment_cli.names_experiment()
      else registry.overview()
    )
    experiment_cli.print_output(json.dumps(rows, indent=1) if _LIST_FORMAT.value == "json" else listing.table(rows))
    return experiment_cli.DONE
  chosen, runs = experiment_cli.selected_runs()
  try:
    from resjax.train import experiment  # only training needs JAX
  except ModuleNotFoundError as error:
    raise ConfigError(f"training needs {error.name}: install the extra train, cuda13 or tpu") from error

  return experiment.run(chosen.question, runs, _WORKDIR.value)


if __name__ == "__main__":
  experiment_cli.run(main)
