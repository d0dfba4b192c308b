"""Starts or continues the training runs of an experiment and writes their report.

    python -m resjax.main --list                              lists the experiments
    python -m resjax.main --config FILE[:VARIANT] --list      lists the runs of an experiment without starting them
    python -m resjax.main --config FILE[:VARIANT] [--workdir DIR] [--only EXPR] [--index N] [--config.KEY=VALUE ...]

The same command continues an interrupted experiment: it skips finished runs and resumes interrupted ones from their
checkpoints. Exit codes: 0 all runs are done, 1 a run failed, 2 the command is invalid, 75 a signal stopped the command
after it saved all states.
"""

import json

from absl import flags

from resjax import experiment_cli, listing, registry
from resjax.settings import ConfigError

_LIST = flags.DEFINE_bool("list", False, "List the experiments, or the runs of --config, without starting any.")
_LIST_FORMAT = flags.DEFINE_enum("list_format", "text", ["text", "json"], "Output format of --list.")
_WORKDIR = flags.DEFINE_string("workdir", "runs", "Directory of the run directories, or gs://BUCKET/FOLDER.")


def main() -> int:
  """Lists or executes the runs that the command line selects; returns the exit code."""
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
