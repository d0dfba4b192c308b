"""Speed of completed runs, from their records."""

import statistics
from typing import NamedTuple

from resjax import records
from resjax.depth import Net


class SpeedKey(NamedTuple):
  """The properties of a run on which its speed depends.

  Attributes:
    params: Number of parameters of the network.
    macs: Multiply-adds of the network for one image.
    batch_size: Images per step.
    precision: Precision of the activations.
    device: JAX's name of the device kind, in lower case.
    devices: Number of devices.
  """

  params: int
  macs: int
  batch_size: int
  precision: str
  device: str
  devices: int


def read(directory: str) -> dict[SpeedKey, float]:
  """Returns images per second: the median over the lines of each run, and the maximum over runs with equal keys.

  Raises:
    RecordsError: The directory does not exist, or a run in it cannot be read.
  """
  found: dict[SpeedKey, float] = {}
  for path in records.find_runs(directory):
    run = records.read_run(path)
    rates = [row["images_per_second"] for row in run.metrics if row["split"] == "train" and row["images_per_second"]]
    if not rates:
      continue
    devices, model, train = run.run["devices"], run.config["model"], run.config["train"]
    size, kind = (run.run["params"], run.run["macs"]), devices["kind"].lower()
    key = SpeedKey(*size, train["batch_size"], model["precision"], kind, devices["count"])
    found[key] = max(found.get(key, 0.0), statistics.median(rates))
  return found


def find(
  speeds: dict[SpeedKey, float], net: Net, batch_size: int, precision: str, kind: str, count: int
) -> float | None:
  """Returns the measured speed of a run in images per second, or None.

  Args:
    speeds: Speeds in images per second, see `read`.
    net: Layer table of the network.
    batch_size: Images per step.
    precision: Precision of the activations.
    kind: Part of the name of the device kind, in lower case.
    count: Number of devices.
  """
  wanted = (net.params, net.macs, batch_size, precision)
  return next(
    (rate for key, rate in speeds.items() if key[:4] == wanted and kind in key.device and key.devices == count), None
  )
