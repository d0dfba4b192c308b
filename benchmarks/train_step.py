"""Training throughput in images a second, against PyTorch and plain Flax, in alternating runs of one process.

    pip install torch
    python -m benchmarks.train_step [--depths 20,56,110] [--batch_size 128] [--rounds 3] [--out train_step.json]

resjax's side is the whole step of a run: order, crop and mirror, forward, backward, SGD with momentum and weight decay.
The other sides get one batch that is there already. All use all cores, or the GPU, and the same environment. The table
has the median of the rounds; ratios are of medians, the first side's over the others'.
"""

import statistics
from collections.abc import Callable
from pathlib import Path

import jax
from absl import app, flags

from benchmarks import implementations, measure
from benchmarks.measure import Side
from resjax import mesh, models

_DEPTHS = flags.DEFINE_list("depths", ["20", "56", "110"], "Depths of residual nets.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images a step.")
_PRECISION = flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Of both sides; PyTorch's by autocast.")
_UNROLL = flags.DEFINE_list("unroll", ["1", "1000"], "Blocks a turn of the loop; 1000: unrolled.")
_SIDES = flags.DEFINE_list("sides", [], "Only sides whose names begin so; empty: all that can run here.")
_NO_LOOP = "1000"


def makers(depth: int) -> dict[str, Callable[[], Side]]:
  """Returns what can run here, by name, not made yet."""
  batch, precision = _BATCH.value, _PRECISION.value
  made: dict[str, Callable[[], Side]] = {}
  for unroll in _UNROLL.value:
    name = "resjax unrolled" if unroll == _NO_LOOP else f"resjax scanned by {unroll}"
    made[name] = lambda unroll=int(unroll): implementations.Resjax(depth, batch, models.ScanOptions(unroll), precision)
  if precision == "float32":
    made["plain Flax"] = lambda: implementations.plain_flax(depth, batch)
  made["torch NCHW"] = lambda: implementations.torch(depth, batch, False, precision)
  made["torch channels_last"] = lambda: implementations.torch(depth, batch, True, precision)
  if jax.devices()[0].platform == "gpu":
    for mode in ("default", "reduce-overhead", "max-autotune"):  # the last two with CUDA graphs
      made[f"torch.compile {mode}"] = lambda mode=mode: implementations.torch(depth, batch, True, precision, mode)
  return {name: make for name, make in made.items() if not _SIDES.value or name.startswith(tuple(_SIDES.value))}


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  rows, rates = [], {}
  for depth in map(int, _DEPTHS.value):
    found = measure.alternate({name: make() for name, make in makers(depth).items()})
    rates[depth] = {name: [rate * _BATCH.value for rate in values] for name, values in found.items()}
    first = statistics.median(next(iter(rates[depth].values())))
    for name, values in rates[depth].items():
      ratio = f"{first / statistics.median(values):.2f}"
      rows.append({"depth": depth, "side": name, "images/s": measure.spread(values), "first side over it": ratio})
  measure.report(rows, batch_size=_BATCH.value, precision=_PRECISION.value, images_per_second=rates)


if __name__ == "__main__":
  app.run(main)
