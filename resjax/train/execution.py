"""Options of the training program that depend on the hardware, and their record in run.json."""

from typing import Any

from jax.sharding import Mesh

from resjax import listing
from resjax.config import Config
from resjax.depth import Net, memory
from resjax.models import ScanOptions, onednn


def scan_options(config: Config, net: Net, devices: Mesh) -> ScanOptions:
  """Returns the options of the loop over the blocks of a stage in training.

  With `execution.remat=auto`, the rematerialization is chosen so that the estimated memory fits into the device, if the
  device reports the size of its memory.

  Args:
    config: Settings of the run.
    net: Layer table of the network.
    devices: Mesh of the devices, which need not exist.
  """
  options = ScanOptions(config.execution.unroll, config.execution.remat)
  first = devices.devices.flat[0]
  if options.remat != "auto" or first.platform == "cpu":
    return options
  bytes_limit = _bytes_limit(first)
  if bytes_limit is None:
    return options
  images, runs = config.train.batch_size // devices.size, config.execution.runs_per_program
  left = memory.ESTIMATE_FRACTION * bytes_limit - sum(listing.image_bytes(config))
  return ScanOptions(options.unroll, memory.choose_remat(net, config.model.precision, images, runs, left))


def _bytes_limit(device: Any) -> int | None:
  """Returns the bytes of memory that JAX may use on a device; None if the device does not exist or report them."""
  try:
    return (device.memory_stats() or {}).get("bytes_limit")
  except (RuntimeError, NotImplementedError):  # a device of `jax.experimental.topologies`
    return None


def record(config: Config, net: Net, devices: Mesh) -> dict[str, Any]:
  """Returns the entry `execution` of run.json: the chosen `remat` and the implementation of the convolutions.

  A run resumes bit-identically only with the same implementation of the convolutions.

  Args:
    config: Settings of the run.
    net: Layer table of the network.
    devices: Mesh of the devices.
  """
  convolution = "onednn" if onednn.available() else "xla"
  return {"remat": scan_options(config, net, devices).rematerialized(), "convolution": convolution}
