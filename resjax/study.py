"""Runs studies of trained networks and writes their results below the run directories, `studies/*.jsonl`.

    python -m resjax.study lesion --workdir DIR [--only EXPR]      blocks deleted, swapped, reordered: errors
    python -m resjax.study gradients --workdir DIR [--only EXPR]   gradient norms by layer, shares by length of path
    python -m resjax.study landscape --workdir DIR [--only EXPR]   loss around the net, Hessian's leading eigenvalues
    python -m resjax.study identity --workdir DIR [--only EXPR]    deepened by identity blocks, trained on
    python -m resjax.study responses --workdir DIR [--only EXPR]   layer responses, captured in another way
    python -m resjax.study layers --workdir DIR [--only EXPR]      what each block knows of the classes; CKA

DIR is a work directory, an experiment in it, or a run directory. The same command continues an interrupted study
without recomputing existing results. `python -m resjax.study lesion --help` lists the settings of a study.
"""

import argparse
import shlex
import sys
import typing
from collections.abc import Sequence
from typing import Any

from resjax import cli, files, listing, settings
from resjax.config import runtime, studies
from resjax.settings import ConfigError

STUDIES: dict[str, type] = {
  "responses": runtime.ResponseCapture,
  "gradients": studies.GradientFlow,
  "lesion": studies.Lesions,
  "landscape": studies.Landscape,
  "identity": studies.Identity,
  "layers": studies.Layers,
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
  kind = STUDIES[name]
  parser = cli.Parser(f"resjax.study {name}", kind.__doc__)
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    default="runs",
    help="work directory, experiment or run directory of the trained networks",
  )
  parser.add_argument("--only", metavar="EXPR", default="", help="runs: key=value[,value...], over the keys of --list")
  parser.add_argument(
    "--data",
    metavar="PATH",
    help="path of the data set, if it has moved since training; checksums of the published files are not required",
  )
  for key, field in settings.leaves(kind):
    default = "as in the run" if name in AS_IN_THE_RUN and key in AS_IN_THE_RUN[name] else field.default
    said = f"{field.metadata['meaning']} (default: {default})".replace("%", "%%")
    parser.add_argument(f"--{key}", default=argparse.SUPPRESS, help=said)
  given = vars(parser.parse_args(argv[1:]))
  workdir, only, path = (given.pop(key) for key in ("workdir", "only", "data"))

  def study() -> int:
    values = {key: _value(kind, key, text) for key, text in given.items()}
    where = files.as_path(workdir)
    settings.freeze(kind, values)  # reports invalid settings before JAX is imported
    from resjax.studies import runner  # after parsing: --help need not wait for JAX

    well, rows = runner.run(name, f"{first.prog} {shlex.join(argv)}", where, only, path, values)
    print(listing.table(rows))
    return cli.DONE if well else cli.FAILED

  try:
    return cli.guarded(parser.command, study)
  except KeyboardInterrupt:
    print(f"{parser.command}: stopped; run the same command again to continue", file=sys.stderr)
    return cli.STOPPED


def _value(kind: type, key: str, text: str) -> Any:
  """Parses the command-line text of a setting.

  Raises:
    ConfigError: The text is not a value of the setting's type.
  """
  wanted = typing.get_type_hints(kind)[key]
  if wanted is bool:
    if text.lower() not in ("true", "false"):
      raise ConfigError(f"{key} = {text!r}: must be true or false")
    return text.lower() == "true"
  try:
    if typing.get_origin(wanted) is tuple:
      return tuple(typing.get_args(wanted)[0](item) for item in text.strip("()").split(",") if item)
    return wanted(text)
  except ValueError:
    kinds = "comma-separated numbers, such as 2,4,8" if typing.get_origin(wanted) is tuple else wanted.__name__
    raise ConfigError(f"{key} = {text!r}: must be {kinds}") from None


if __name__ == "__main__":
  cli.run(main)
