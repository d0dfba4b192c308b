"""Training throughput in images per second, compared with PyTorch and plain Flax in alternating runs of one process.

    pip install torch
    python -m benchmarks.train_step [--depths 20,56,110] [--batch_size 128] [--rounds 3] [--out train_step.json]

The step of resjax is that of a run: order of the images, crops and flips, forward and backward pass, SGD with momentum
and weight decay. The other implementations train on one minibatch that is on the device already. All use all cores, or
the GPU, in the same environment. The table has medians over the rounds, and the ratio of the first implementation's
median to each of the others.
"""

import statistics
from collections.abc import Callable
from pathlib import Path

import jax
from absl import app, flags

from benchmarks import implementations, measure
from benchmarks.measure import RunSteps
from resjax import mesh, models

_DEPTHS = flags.DEFINE_list("depths", ["20", "56", "110"], "Depths of the residual networks.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per step.")
_PRECISION = flags.DEFINE_enum(
  "precision", "float32", ["float32", "bfloat16"], "Precision of the activations; in PyTorch by autocast."
)
_UNROLL = flags.DEFINE_list("unroll", ["1", "1000"], "Blocks per iteration of the loop over blocks; 1000: unrolled.")
_IMPLEMENTATIONS = flags.DEFINE_list(
  "sides", [], "Prefixes of the names of the implementations to run; empty: all that can run."
)
_NO_LOOP = "1000"


def makers(depth: int) -> dict[str, Callable[[], RunSteps]]:
  """Returns functions that create the implementations that can run on this machine, by name."""
  batch, precision = _BATCH.value, _PRECISION.value
  made: dict[str, Callable[[], RunSteps]] = {}
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
  return {
    name: make
    for name, make in made.items()
    if not _IMPLEMENTATIONS.value or name.startswith(tuple(_IMPLEMENTATIONS.value))
  }


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
