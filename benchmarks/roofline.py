"""Fraction of the memory bandwidth that training achieves: bytes that a step must move over those that it could move.

    python -m benchmarks.roofline [--depth 110] [--batch_size 1024] [--precision bfloat16] [--out roofline.json]

Bytes are counted from the layer table, see `resjax/planning/roofline.py`. The bandwidth is measured by copying an array
larger than every cache.
"""

import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags

from benchmarks import implementations, measure
from resjax import listing, mesh, models
from resjax.config import Config, Model
from resjax.planning import roofline

_DEPTH = flags.DEFINE_integer("depth", 110, "Depth of the residual network.")
_BATCH = flags.DEFINE_integer("batch_size", 1024, "Images per step.")
_PRECISION = flags.DEFINE_enum("precision", "bfloat16", ["float32", "bfloat16"], "Precision of the activations.")
_UNROLL = flags.DEFINE_integer("unroll", 1, "Blocks per iteration of the loop over blocks.")
_COPY = flags.DEFINE_integer("copy_mib", 1024, "Size of the copied array in MiB.")


def step_bytes(depth: int, batch_size: int, precision: str) -> int:
  """Returns the bytes of activations and of their gradients that a step must read and write."""
  return batch_size * roofline.moved_bytes(listing.net(Config(model=Model(depth=depth))), precision)


def bandwidth(mebibytes: int) -> float:
  """Returns the memory bandwidth of one device in bytes per second, read and written, from the fastest copy."""
  array, add = jnp.zeros(mebibytes * 2**18), jax.jit(lambda x: x + 1)
  jax.block_until_ready(add(array))
  seconds = []
  for _ in range(10):
    start = time.perf_counter()
    jax.block_until_ready(add(array))
    seconds.append(time.perf_counter() - start)
  return 2 * array.nbytes / min(seconds)


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  speed = bandwidth(_COPY.value)
  run_steps = implementations.Resjax(_DEPTH.value, _BATCH.value, models.ScanOptions(_UNROLL.value), _PRECISION.value)
  rates = measure.alternate({"resjax": run_steps}, least=1)["resjax"]
  moved = step_bytes(_DEPTH.value, _BATCH.value, _PRECISION.value)
  row = {
    "depth": _DEPTH.value,
    "batch": _BATCH.value,
    "precision": _PRECISION.value,
    "images/s": measure.spread(rate * _BATCH.value for rate in rates),
    "GB a step": f"{moved / 1e9:.1f}",
    "copy GB/s": f"{speed / 1e9:.0f}",
    "share of it": f"{moved * statistics.median(rates) / speed:.2f}",
  }
  measure.report([row], steps_per_second=rates)


if __name__ == "__main__":
  app.run(main)
