"""Disturbs short runs in every way a machine can, and counts what came of it.

    python -m tests.faults [--times 100] [--kinds killed,saving,...] [--seed 0]

After each fault the same command is given again, until it ends. A run is then `identical` to the undisturbed one, to
the bit, or the command ended with a `clear error` and changed nothing, or something was `lost`. Exit code 1 if so.
Faults that need a small disk of their own (`full`) need the right to mount one.
"""

import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from absl import app, flags

from resjax import listing
from tests.faults import kinds
from tests.faults.runs import Runs, what_counts

_TIMES = flags.DEFINE_integer("times", 100, "Kills at random moments; the other kinds are tried in proportion.")
_KINDS = flags.DEFINE_list("kinds", list(kinds.KINDS), "Which.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments and places.")


def main(_) -> int:
  """Tries the faults and prints the table."""
  root = Path(tempfile.mkdtemp(prefix="resjax-faults-"))
  runs = Runs(root / "compiled")
  for only, name in ((kinds.ONE, "one"), (kinds.SWEEP, "sweep")):
    code, err = runs.to_the_end(root / name, only)
    if code:
      raise RuntimeError(err)
  expected = {name: what_counts(root / name) for name in ("one", "sweep")}
  rows = []
  for name in _KINDS.value:
    draw, found = random.Random(_SEED.value), Counter()
    for i in range(max(1, round(kinds.KINDS[name].share * _TIMES.value))):
      place = root / f"{name}-{i}"
      outcome = kinds.KINDS[name].once(runs, place, root, expected, draw)
      found[outcome] += 1
      print(f"{name} {i + 1}: {outcome}", flush=True)
      if outcome != kinds.LOST:
        shutil.rmtree(place, ignore_errors=True)
    row = {"fault": kinds.KINDS[name].what, "tried": sum(found.values())}
    rows.append(row | {outcome: found[outcome] for outcome in (kinds.IDENTICAL, kinds.CLEAR, kinds.LOST)})
  print(listing.table(rows))
  lost = sum(row[kinds.LOST] for row in rows)
  if lost:
    print(f"what was lost is below {root}")
  else:
    shutil.rmtree(root)
  return 1 if lost else 0


if __name__ == "__main__":
  app.run(lambda argv: sys.exit(main(argv)))
