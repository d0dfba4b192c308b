"""What stochastic depth saves of a training step: the expected share of the work, and the measured share of the time.

    python -m benchmarks.stochastic_depth [--depths 20,56,110] [--survival 0.5] [--seeds 1] [--cpu_time] [--out FILE]

A dropped block is not computed where a step is not vectorized over runs (`lax.cond`); with `--seeds` above 1 on an
accelerator it is, and nothing is saved. Expected is the share of multiply-adds in dropped blocks, forward and backward
alike; measured is 1 - (median time with) / (median time without), in alternating runs of one process. `--cpu_time`
counts seconds of CPU instead of seconds: for a CPU that is busy with other work.
"""

import statistics
import time
from pathlib import Path

from absl import app, flags

from benchmarks import implementations, measure
from resjax import mesh
from resjax.config import Model
from resjax.models import stochastic_depth

_DEPTHS = flags.DEFINE_list("depths", ["20", "56", "110"], "Depths of the residual networks.")
_SURVIVAL = flags.DEFINE_float("survival", 0.5, "Survival probability of the last block.")
_SEEDS = flags.DEFINE_integer("seeds", 1, "Runs as one program.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per step of a run.")
_CPU_TIME = flags.DEFINE_bool("cpu_time", False, "Whether to count the process's seconds of CPU, of all threads.")


def expected_saving(net: Model) -> float:
  """Returns the expected share of the multiply-adds of a step that are in dropped blocks."""
  table = net.net(implementations.IMAGE, 10)
  places = sorted({(layer.stage, layer.block) for layer in table.table if layer.block})
  work = {place: sum(layer.macs for layer in table.table if (layer.stage, layer.block) == place) for place in places}
  kept = zip(places, stochastic_depth.probabilities(net), strict=True)
  return sum((1 - probability) * work[place] for place, probability in kept) / table.macs


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  rows, rates = [], {}
  for depth in map(int, _DEPTHS.value):
    made = {
      name: implementations.Resjax(depth, _BATCH.value, seeds=_SEEDS.value, survival=survival)
      for name, survival in (("without", 1.0), ("with", _SURVIVAL.value))
    }
    rates[depth] = measure.alternate(made, 4, time.process_time if _CPU_TIME.value else time.perf_counter)
    without, with_ = (statistics.median(rates[depth][name]) for name in ("without", "with"))
    rows.append(
      {
        "depth": depth,
        "steps/s without": measure.spread(rates[depth]["without"], 2),
        "steps/s with": measure.spread(rates[depth]["with"], 2),
        "expected saving": f"{100 * expected_saving(Model(depth=depth, survival=_SURVIVAL.value)):.1f} %",
        "measured saving": f"{100 * (1 - without / with_):.1f} %",
      }
    )
  measure.report(rows, survival=_SURVIVAL.value, seeds=_SEEDS.value, batch_size=_BATCH.value, steps_per_second=rates)


if __name__ == "__main__":
  app.run(main)
