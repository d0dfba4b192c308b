"""Rebuilds tables, figures and the page of an experiment from its run directories.

    python -m resjax.report DIR

DIR is an experiment's directory, or a parent of several: then one page each, and an index. Works
while the runs are going on. Prints the path of the page to open. Needs no JAX.
"""

from collections.abc import Sequence

from resjax import arguments


def main(argv: Sequence[str] | None = None) -> int:
  """Builds the report of the directory named in `argv`; returns the exit code (0, or 2)."""
  parser = arguments.Parser("resjax.report", __doc__)
  parser.add_argument("dir", metavar="DIR", help="an experiment's directory, or a parent of several")
  given = parser.parse_args(argv)

  def build() -> int:
    from resjax.analysis import page  # after parsing: --help need not wait for pandas and matplotlib

    print(page.build(given.dir))
    return arguments.DONE

  return arguments.guarded(parser.command, build)


if __name__ == "__main__":
  arguments.run(main)
