"""Rebuilds tables, figures and the page of an experiment from its run directories.

    python -m resjax.report DIR

DIR is an experiment's directory, or a parent of several: then one page each, and an index. Works
while the runs are going on. Prints the path of the page to open. Needs no JAX.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn


class _Parser(argparse.ArgumentParser):
  def error(self, message: str) -> NoReturn:
    self.exit(2, f"resjax.report: {message}; python -m resjax.report --help says more\n")


def main(argv: Sequence[str] | None = None) -> int:
  """Builds the report of the directory named in `argv`; returns the exit code (0, or 2)."""
  parser = _Parser(
    prog="python -m resjax.report",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("dir", metavar="DIR", help="an experiment's directory, or a parent of several")
  arguments = parser.parse_args(argv)
  # After parsing: --help need not wait for pandas and matplotlib.
  from resjax import records
  from resjax.analysis import page

  try:
    print(page.build(arguments.dir))
  except (records.RecordsError, OSError) as e:
    print(f"resjax.report: {e}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main())
