"""Runs studies of networks and writes their results below the run directories, `studies/*.jsonl`.

    python -m resjax.study lesion --workdir DIR [--only EXPR]      blocks deleted, swapped, reordered: errors
    python -m resjax.study gradients --workdir DIR [--only EXPR]   gradient norms by layer, shares by length of path
    python -m resjax.study landscape --workdir DIR [--only EXPR]   loss around the net, Hessian's leading eigenvalues
    python -m resjax.study curvature --workdir DIR [--only EXPR]   density of the Hessian's eigenvalues, trace by stage
    python -m resjax.study trajectory --workdir DIR [--only EXPR]  path of training on the loss in its principal plane
    python -m resjax.study identity --workdir DIR [--only EXPR]    deepened by identity blocks, trained on
    python -m resjax.study responses --workdir DIR [--only EXPR]   layer responses, captured in another way
    python -m resjax.study layers --workdir DIR [--only EXPR]      what each block knows of the classes; CKA
    python -m resjax.study init --config FILE[:VARIANT] [--workdir DIR] [--only EXPR] [--config.KEY=VALUE ...]
                                                                   signal and gradients before training

DIR is a work directory, an experiment in it, or a run directory. The same command continues an interrupted study
without recomputing existing results. `python -m resjax.study lesion --help` lists the settings of a study.
"""

import argparse
import functools
import shlex
import sys
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from resjax import cli, files, listing, registry, settings
from resjax.config import Config, runtime, studies
from resjax.settings import ConfigError

STUDIES: dict[str, type] = {
  "responses": runtime.ResponseCapture,
  "gradients": studies.GradientFlow,
  "lesion": studies.Lesions,
  "landscape": studies.Landscape,
  "curvature": studies.Curvature,
  "trajectory": studies.Trajectory,
  "identity": studies.Identity,
  "layers": studies.Layers,
  "init": studies.Initialization,
}
# Settings whose defaults are those of the run.
AS_IN_THE_RUN = {
  name: [key for key, _ in settings.leaves(kind)]
  for name, kind in (("responses", runtime.ResponseCapture), ("gradients", runtime.GradientCapture))
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the study named in `argv`; returns the exit code: 0, 1 if it failed for a run, 2, or 75 if interrupted."""
  argv = sys.argv[1:] if argv is None else argv
  first = cli.Parser("resjax.study", __doc__)
  first.add_argument("study", choices=STUDIES, help="study to run; STUDY --help lists its settings")
  name = first.parse_args(argv[:1]).study
  parser = _parser(name)
  overrides = [argument for argument in argv[1:] if name == "init" and argument.startswith("--config.")]
  given = vars(parser.parse_args([argument for argument in argv[1:] if argument not in overrides]))
  run = functools.partial(_run_untrained, overrides=overrides) if name == "init" else functools.partial(_run, name)
  try:
    return cli.guarded(parser.command, lambda: run(f"{first.prog} {shlex.join(argv)}", given))
  except KeyboardInterrupt:
    print(f"{parser.command}: stopped; run the same command again to continue", file=sys.stderr)
    return cli.STOPPED


def _parser(name: str) -> cli.Parser:
  """Returns the parser of a study's arguments."""
  kind = STUDIES[name]
  parser = cli.Parser(f"resjax.study {name}", kind.__doc__)
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    default="runs",
    help="work directory" if name == "init" else "work directory, experiment or run directory of the trained networks",
  )
  parser.add_argument("--only", metavar="EXPR", default="", help="runs: key=value[,value...], over the keys of --list")
  if name == "init":
    parser.add_argument(
      "--config",
      metavar="FILE[:VARIANT]",
      required=True,
      help="experiment; --config.KEY=VALUE sets a setting of all its runs",
    )
  else:
    parser.add_argument(
      "--data",
      metavar="PATH",
      help="path of the data set, if it has moved since training; checksums of the published files are not required",
    )
  for key, field in settings.leaves(kind):
    default = "as in the run" if name in AS_IN_THE_RUN and key in AS_IN_THE_RUN[name] else field.default
    said = f"{field.metadata['meaning']} (default: {default})".replace("%", "%%")
    parser.add_argument(f"--{key}", default=argparse.SUPPRESS, help=said)
  return parser


def _run(name: str, command: str, given: dict[str, Any]) -> int:
  """Runs a study of trained networks; returns the exit code."""
  workdir, only, path = (given.pop(key) for key in ("workdir", "only", "data"))
  values = _values(name, given)
  where = files.as_path(workdir)
  from resjax.studies import runner  # after parsing: --help need not wait for JAX

  well, rows = runner.run(name, command, where, only, path, values)
  print(listing.table(rows))
  return cli.DONE if well else cli.FAILED


def _run_untrained(command: str, given: dict[str, Any], overrides: Sequence[str]) -> int:
  """Runs the study of an experiment's networks at initialization; returns the exit code."""
  workdir, only, config = (given.pop(key) for key in ("workdir", "only", "config"))
  values = _values("init", given)
  name, _, variant = config.partition(":")
  experiment = registry.find(name)
  runs = listing.filter_runs(experiment.runs(variant, dict(map(_override, overrides))), only)
  from resjax.studies import initialization

  its = settings.freeze(studies.Initialization, values)
  print(listing.table(initialization.run(experiment.question, runs, command, files.as_path(workdir), its)))
  return cli.DONE


def _values(name: str, given: Mapping[str, str]) -> dict[str, Any]:
  """Returns the settings of a study that were given on the command line, checked before JAX is imported.

  Raises:
    ConfigError: A setting is invalid.
  """
  kinds = typing.get_type_hints(STUDIES[name])
  values = {key: _value(kinds[key], key, text) for key, text in given.items()}
  settings.freeze(STUDIES[name], values)
  return values


def _override(argument: str) -> tuple[str, Any]:
  """Returns key and value of `--config.KEY=VALUE`.

  Raises:
    ConfigError: There is no such setting, or the text is not a value of its type.
  """
  key, _, text = argument.removeprefix("--config.").partition("=")
  settings.check_key(Config, key)
  return key, _value(dict(settings.leaves(Config))[key].type, key, text)


def _value(wanted: Any, key: str, text: str) -> Any:
  """Parses the command-line text of a setting of type `wanted`.

  Raises:
    ConfigError: The text is not a value of the setting's type.
  """
  if wanted is bool:
    if text.lower() not in ("true", "false"):
      raise ConfigError(f"{key} = {text!r}: must be true or false")
    return text.lower() == "true"
  try:
    if typing.get_origin(wanted) is tuple:
      return tuple(typing.get_args(wanted)[0](item) for item in text.strip("()").split(",") if item)
    return wanted(text)
  except ValueError:
    numbers = typing.get_origin(wanted) is tuple
    kinds = "comma-separated numbers, such as 2,4,8" if numbers else settings.type_name(wanted)
    raise ConfigError(f"{key} = {text!r}: must be {kinds}") from None


if __name__ == "__main__":
  cli.run(main)
