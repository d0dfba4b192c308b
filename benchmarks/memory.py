"""Memory of the training step by depth, by what is kept for the backward pass, and the price in time.

    python -m benchmarks.memory [--depths 20,110,1202] [--timed_depths 20,110] [--batch_size 128] [--out memory.json]

Memory is what the compiler plans for temporary buffers on one device, from the compiled step; nothing is trained for
it. Seconds a step are measured, all devices, at the depths of --timed_depths, in alternating runs.
"""

import statistics

from absl import app, flags

from benchmarks import implementations, measure
from resjax import listing, mesh, models
from resjax.config import Config, Execution, Model, Train
from resjax.train import program

_DEPTHS = flags.DEFINE_list("depths", ["20", "110", "1202"], "Depths of residual nets.")
_TIMED = flags.DEFINE_list("timed_depths", ["20", "110"], "Those whose steps are timed.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images a step.")
REMAT = ("none", "block", "group")


def temporary_bytes(depth: int, remat: str, batch_size: int) -> int:
  """Returns the size of the temporary buffers of the training program on one device."""
  execution = Execution(devices=1, remat=remat)
  config = Config(model=Model(depth=depth), train=Train(batch_size=batch_size), execution=execution)
  return program.memory(program.lower(config, listing.net(config), mesh.make(config)).compile()).temporary


def main(_) -> None:
  rows = []
  for depth in _DEPTHS.value:
    planned = {remat: temporary_bytes(int(depth), remat, _BATCH.value) for remat in REMAT}
    seconds: dict[str, list[float]] = {}
    if depth in _TIMED.value:
      made = {remat: implementations.Resjax(int(depth), _BATCH.value, models.ScanOptions(1, remat)) for remat in REMAT}
      seconds = {remat: [1 / rate for rate in rates] for remat, rates in measure.alternate(made, least=1).items()}
    for remat in REMAT:
      row = {"depth": depth, "computed again": remat, "temporary GiB": f"{planned[remat] / 2**30:.3f}"}
      row["s a step"] = measure.spread(seconds[remat], 2) if seconds else ""
      ratio = statistics.median(seconds[remat]) / statistics.median(seconds["none"]) if seconds else None
      rows.append(row | {"times none's": f"{ratio:.2f}" if ratio else ""})
  measure.report(rows, batch_size=_BATCH.value)


if __name__ == "__main__":
  app.run(main)
