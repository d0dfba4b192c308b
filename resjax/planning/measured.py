"""How fast runs were on machines that were there, from their records."""

import statistics
from typing import NamedTuple

from resjax import records
from resjax.depth import Net


class Circumstances(NamedTuple):
  """What a rate holds for: the net by its size, the batch and its precision, the device as JAX names it, how many."""

  params: int
  macs: int
  batch_size: int
  precision: str
  device: str
  devices: int


def read(directory: str) -> dict[Circumstances, float]:
  """Returns images a second by circumstances: the median over a run's lines, the best of several runs.

  Raises:
    RecordsError: there is no such directory, or a run in it cannot be read.
  """
  found: dict[Circumstances, float] = {}
  for path in records.find_runs(directory):
    run = records.read_run(path)
    rates = [row["images_per_second"] for row in run.metrics if row["split"] == "train" and row["images_per_second"]]
    if not rates:
      continue
    devices, model, train = run.run["devices"], run.config["model"], run.config["train"]
    size, kind = (run.run["params"], run.run["macs"]), devices["kind"].lower()
    key = Circumstances(*size, train["batch_size"], model["precision"], kind, devices["count"])
    found[key] = max(found.get(key, 0.0), statistics.median(rates))
  return found


def find(
  speeds: dict[Circumstances, float], net: Net, batch_size: int, precision: str, kind: str, count: int
) -> float | None:
  """Returns the images a second of such a run on devices whose name contains `kind`, or None."""
  wanted = (net.params, net.macs, batch_size, precision)
  return next(
    (rate for key, rate in speeds.items() if key[:4] == wanted and kind in key.device and key.devices == count), None
  )
