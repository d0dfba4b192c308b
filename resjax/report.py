"""Rebuilds tables, figures and the page of an experiment from its run directories.

    python -m resjax.report DIR [--serve [PORT]] [--tensorboard [OUT]] [--readme FILE ...]

DIR is an experiment's directory, or a parent of several: then one page each, and an index. Works
while the runs are going on. Prints the path of the page to open. Needs no JAX.

--serve shows the page at http://127.0.0.1:PORT/ and follows the runs: it is rebuilt when their logs
have grown, and the browser shows the newer one by itself. --tensorboard writes the logs as event
files, a folder a run below OUT (DIR/tensorboard), for tensorboard --logdir OUT. --readme writes a
table of the results into Markdown files, between the lines <!-- results --> and
<!-- end of results -->, and likewise, where these lines are, what the pages say: findings.
"""

from collections.abc import Sequence
from pathlib import Path

from resjax import cli, files
from resjax.settings import ConfigError

_PORT = 8000


def main(argv: Sequence[str] | None = None) -> int:
  """Builds the report of the directory named in `argv`; returns the exit code (0, or 2)."""
  parser = cli.Parser("resjax.report", __doc__)
  parser.add_argument("dir", metavar="DIR", help="an experiment's directory, or a parent of several")
  parser.add_argument(
    "--serve", metavar="PORT", type=int, nargs="?", const=_PORT, help=f"serve it, by default at port {_PORT}; 0: any"
  )
  parser.add_argument(
    "--tensorboard", metavar="OUT", nargs="?", const="", help="write event files, by default to DIR/tensorboard"
  )
  parser.add_argument("--readme", metavar="FILE", type=Path, nargs="+", default=[], help="write the results")
  given = parser.parse_args(argv)
  if given.serve is not None and not 0 <= given.serve < 2**16:
    parser.error(f"argument --serve: {given.serve} is no port: it must be 0 to {2**16 - 1}")

  def build() -> int:
    from resjax.analysis import page, readme  # after parsing: --help need not wait for pandas and matplotlib

    directory = files.as_path(given.dir)
    if files.in_bucket(directory) and (given.serve is not None or given.tensorboard == ""):
      raise ConfigError(f"{directory}: --serve, and --tensorboard without OUT, are for a directory on this machine")
    if given.tensorboard is not None:
      from resjax.analysis import load, tensorboard

      out = files.local_path(given.tensorboard or directory / "tensorboard")
      tensorboard.write(load(directory), out)
      print(out)
    if given.readme:
      readme.update(directory, given.readme)
    if given.serve is not None:
      return _serve(directory, given.serve)
    print(page.build(directory))
    return cli.DONE

  return cli.guarded(parser.command, build)


def _serve(directory: Path, port: int) -> int:
  """Serves until the user ends it."""
  from resjax.analysis import serve

  with serve.server(directory, port) as server:
    print(f"http://{serve.HOST}:{server.server_port}/  (ends with Ctrl-C)", flush=True)
    try:
      server.serve_forever()
    except KeyboardInterrupt:
      print()
  return cli.DONE


if __name__ == "__main__":
  cli.run(main)
