"""How the training program of a run is executed: what the settings leave open, and what run.json says of it."""

from typing import Any

from jax.sharding import Mesh

from resjax.config import Config
from resjax.depth import Net, memory
from resjax.models import ScanOptions, onednn

# Share of a device's memory that the estimate of `execution.remat=auto` may take. The estimate has activations and
# weights only; the images, what convolutions work in, and fragmentation take the rest.
SHARE = 0.7


def scan_options(config: Config, net: Net, devices: Mesh) -> ScanOptions:
  """Returns how the blocks of a stage are looped over in training.

  With `execution.remat=auto` a device that says how much memory it has gets the form that fits into it.

  Args:
    config: Settings of the run.
    net: Layer table of its network.
    devices: Devices that the batch is split over; they need not exist.
  """
  options = ScanOptions(config.execution.unroll, config.execution.remat)
  first = devices.devices.flat[0]
  if options.remat != "auto" or first.platform == "cpu":
    return options
  bytes_limit = _bytes_limit(first)
  if bytes_limit is None:
    return options
  images = config.train.batch_size * config.execution.runs_per_program // devices.size
  return ScanOptions(options.unroll, memory.choose_remat(net, config.model.precision, images, SHARE * bytes_limit))


def _bytes_limit(device: Any) -> int | None:
  """Returns the bytes of a device's memory that JAX may use; None where it does not say, or the device is not there."""
  try:
    return (device.memory_stats() or {}).get("bytes_limit")
  except (RuntimeError, NotImplementedError):  # a device of `jax.experimental.topologies`
    return None


def facts(config: Config, net: Net, devices: Mesh) -> dict[str, Any]:
  """Returns `execution` of run.json: the resolved `remat`, and the form of the convolutions.

  Resuming is exact within one form of the convolution only.
  """
  convolution = "onednn" if onednn.available() else "xla"
  return {"remat": scan_options(config, net, devices).rematerialized(), "convolution": convolution}
