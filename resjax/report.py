"""Builds the report of an experiment, with tables and figures, from its run directories.

    python -m resjax.report DIR [--serve [PORT]] [--tensorboard [OUT]] [--to wandb|trackio|mlflow] [--readme FILE ...]
        [--archive]

DIR is the directory of an experiment, or a parent of several, for which one page each and an index are built. The runs
may still be in progress. The command prints the path of the page and does not need JAX.

--serve serves the page at http://127.0.0.1:PORT/, rebuilds it when the logs of the runs have grown, and lets the
browser reload it.

--tensorboard writes the logs as event files to one folder per run below OUT (by default DIR/tensorboard), for
tensorboard --logdir OUT.

--to writes every ended run with its settings, metrics, responses and result as one run to an experiment tracker,
without network (extra wandb, trackio or mlflow): to wandb's offline runs below WANDB_DIR, to upload with wandb sync; to
the local store of trackio; to the store of MLFLOW_TRACKING_URI. Runs that are already there are left alone, so the
command may be repeated.

--readme replaces text in Markdown files: the table of results between the lines <!-- results --> and
<!-- end of results -->, its figure between <!-- figure --> and <!-- end of figure -->, and, in the directory of an
experiment, its findings between <!-- findings --> and <!-- end of findings -->.

--archive writes the records of all runs of an experiment to DIR/runs.tar.xz. The archive is unpacked where a report is
built and the run directories are missing.
"""

from collections.abc import Sequence
from pathlib import Path

from resjax import cli, files, records
from resjax.settings import ConfigError

_PORT = 8000


def main(argv: Sequence[str] | None = None) -> int:
  """Builds the report of the directory named in `argv`; returns the exit code, 0 or 2."""
  parser = cli.Parser("resjax.report", __doc__)
  parser.add_argument("dir", metavar="DIR", help="directory of an experiment, or a parent of several")
  parser.add_argument(
    "--serve",
    metavar="PORT",
    type=int,
    nargs="?",
    const=_PORT,
    help=f"serve the page; default: {_PORT}, 0: a free port",
  )
  parser.add_argument(
    "--tensorboard", metavar="OUT", nargs="?", const="", help="write event files to OUT, by default DIR/tensorboard"
  )
  parser.add_argument("--to", choices=cli.TRACKERS, help="write the ended runs to an experiment tracker")
  parser.add_argument("--readme", metavar="FILE", type=Path, nargs="+", default=[], help="Markdown files to update")
  parser.add_argument("--archive", action="store_true", help="write the records of all runs of DIR to one archive only")
  given = parser.parse_args(argv)
  if given.serve is not None and not 0 <= given.serve < 2**16:
    parser.error(f"argument --serve: {given.serve} is not a port: must be 0 to {2**16 - 1}")

  def build() -> int:
    from resjax.analysis import page, readme  # after parsing: --help need not wait for pandas and matplotlib

    directory = files.as_path(given.dir)
    if files.in_bucket(directory) and (given.serve is not None or given.tensorboard == ""):
      raise ConfigError(f"{directory}: --serve, and --tensorboard without OUT, need a directory on this machine")
    records.unpack(directory)
    if given.archive:
      print(records.pack(directory))
      return cli.DONE
    if given.tensorboard is not None:
      from resjax.analysis import load, tensorboard

      out = files.local_path(given.tensorboard or directory / "tensorboard")
      tensorboard.write(load(directory), out)
      print(out)
    if given.to:
      from resjax.analysis import load, trackers

      print(trackers.export(load(directory), given.to))
    if given.readme:
      readme.update(directory, given.readme)
    if given.serve is not None:
      return _serve(directory, given.serve)
    print(page.build(directory))
    return cli.DONE

  return cli.guarded(parser.command, build)


def _serve(directory: Path, port: int) -> int:
  """Serves the page until the user interrupts the command."""
  from resjax.analysis import serve

  with serve.server(directory, port) as server:
    print(f"http://{serve.HOST}:{server.server_port}/  (stop with Ctrl-C)", flush=True)
    try:
      server.serve_forever()
    except KeyboardInterrupt:
      print()
  return cli.DONE


if __name__ == "__main__":
  cli.run(main)
