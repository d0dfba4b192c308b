"""Injects faults into short runs and counts the outcomes.

    python -m tests.faults [--times 100] [--kinds killed,saving,...] [--seed 0]

After each fault the same command is run again until it completes. The outcome is `identical` if the run is then
bit-identical to the uninterrupted one, `clear error` if the command ended with a one-line error and changed nothing,
and `lost` otherwise. The exit code is 1 if any outcome is `lost`. The faults `full` and `read_only` mount a small disk,
which needs root.
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
from tests.faults.runs import Runs, reproducible_records

_TIMES = flags.DEFINE_integer("times", 100, "Number of kills at random moments; other kinds are tried in proportion.")
_KINDS = flags.DEFINE_list("kinds", list(kinds.KINDS), "Kinds of faults to inject, separated by commas.")
_SEED = flags.DEFINE_integer("seed", 0, "Seed of the random moments and places of the faults.")


def main(_) -> int:
  """Injects the faults, prints a table of outcomes, and returns the exit code."""
  root = Path(tempfile.mkdtemp(prefix="resjax-faults-"))
  runs = Runs(root / "compiled")
  for only, name in ((kinds.ONE_RUN, "one"), (kinds.SWEEP, "sweep")):
    code, err = runs.run_to_completion(root / name, only)
    if code:
      raise RuntimeError(err)
  expected = {name: reproducible_records(root / name) for name in ("one", "sweep")}
  rows = []
  for name in _KINDS.value:
    rng, outcomes = random.Random(_SEED.value), Counter()
    for i in range(max(1, round(kinds.KINDS[name].share * _TIMES.value))):
      workdir = root / f"{name}-{i}"
      outcome = kinds.KINDS[name].inject(runs, workdir, root, expected, rng)
      outcomes[outcome] += 1
      print(f"{name} {i + 1}: {outcome}", flush=True)
      if outcome != kinds.LOST:
        shutil.rmtree(workdir, ignore_errors=True)
    row = {"fault": kinds.KINDS[name].description, "tried": sum(outcomes.values())}
    rows.append(row | {outcome: outcomes[outcome] for outcome in (kinds.IDENTICAL, kinds.CLEAR_ERROR, kinds.LOST)})
  print(listing.table(rows))
  lost = sum(row[kinds.LOST] for row in rows)
  if lost:
    print(f"the work directories of lost runs are below {root}")
  else:
    shutil.rmtree(root)
  return 1 if lost else 0


if __name__ == "__main__":
  app.run(lambda argv: sys.exit(main(argv)))
