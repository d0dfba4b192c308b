"""Throughput of several seeds in one program, compared with the same runs in sequence, in steps of a run per second.

    python -m benchmarks.seeds [--depth 20] [--seeds 5] [--batch_size 128] [--rounds 3] [--out seeds.json]

A step of the one program is a step of every run. The timing excludes compilation, of which one program also needs less.
"""

import statistics
from pathlib import Path

from absl import app, flags

from benchmarks import implementations, measure
from resjax import mesh

_DEPTH = flags.DEFINE_integer("depth", 20, "Depth of the residual network.")
_SEEDS = flags.DEFINE_integer("seeds", 5, "Runs.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per step of a run.")


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  made = {
    "one program": implementations.Resjax(_DEPTH.value, _BATCH.value, seeds=_SEEDS.value),
    "one after another": implementations.Resjax(_DEPTH.value, _BATCH.value),
  }
  rates = measure.alternate(made)
  rates["one program"] = [rate * _SEEDS.value for rate in rates["one program"]]
  alone = statistics.median(rates["one after another"])
  rows = [
    {
      "side": name,
      "run-steps/s": measure.spread(values, 2),
      "images/s": measure.spread(value * _BATCH.value for value in values),
      "over one after another": f"{statistics.median(values) / alone:.2f}",
    }
    for name, values in rates.items()
  ]
  measure.report(rows, depth=_DEPTH.value, seeds=_SEEDS.value, batch_size=_BATCH.value, run_steps_per_second=rates)


if __name__ == "__main__":
  app.run(main)
