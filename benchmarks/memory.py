"""Memory and duration of the training step by depth and by rematerialization.

    python -m benchmarks.memory [--depths 20,110,1202] [--timed_depths 20,110] [--batch_size 128] [--out memory.json]

Memory is the size of the temporary buffers of the compiled step on one device, which needs no training. Seconds per
step are measured on all devices at the depths of --timed_depths, in alternating runs.
"""

import statistics

from absl import app, flags

from benchmarks import implementations, measure
from resjax import listing, mesh, models
from resjax.config import Config, Execution, Model, Train
from resjax.train import program

_DEPTHS = flags.DEFINE_list("depths", ["20", "110", "1202"], "Depths of the residual networks.")
_TIMED = flags.DEFINE_list("timed_depths", ["20", "110"], "Depths whose steps are timed.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per step.")
REMAT = ("none", "block", "group")


def temporary_bytes(depth: int, remat: str, batch_size: int) -> int:
  """Returns the size of the temporary buffers of the training program on one device, in bytes."""
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
