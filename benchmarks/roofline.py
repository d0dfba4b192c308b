"""How near training comes to the memory's speed: bytes a step must move, over bytes it could move in its time.

    python -m benchmarks.roofline [--depth 110] [--batch_size 1024] [--precision bfloat16] [--out roofline.json]

Bytes are counted from the layer table, each array once for each time it has to cross the memory between kernels that
cannot be fused because a sum over the batch stands between them: a convolution's input and output forward; its input,
its output's gradient and its input's gradient backward; a norm's input read twice and its output written forward, its
input and its output's gradient read twice and its gradient written backward. Weights are left out, and additions too,
which fuse with a norm. The bandwidth is measured here, by a pass over an array that fits in no cache.
"""

import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags

from benchmarks import measure, sides
from resjax import listing, mesh, models
from resjax.config import Config, Model

_DEPTH = flags.DEFINE_integer("depth", 110, "Depth of the residual net.")
_BATCH = flags.DEFINE_integer("batch_size", 1024, "Images a step.")
_PRECISION = flags.DEFINE_enum("precision", "bfloat16", ["float32", "bfloat16"], "Of activations.")
_UNROLL = flags.DEFINE_integer("unroll", 1, "Blocks a turn of the loop.")
_COPY = flags.DEFINE_integer("copy_mib", 1024, "Size of the array copied.")
CONV_CROSSINGS = {"inputs": 3, "outputs": 2}  # forward: in, out; backward: in for dw, out's gradient, in's gradient
NORM_CROSSINGS = 3 + 5


def step_bytes(depth: int, batch_size: int, precision: str) -> int:
  """Returns bytes of activations and their gradients that a step has to move."""
  width, values = {"float32": 4, "bfloat16": 2}[precision], 0
  for layer in listing.net(Config(model=Model(depth=depth))).table:
    height, breadth = layer.side
    outputs = layer.outputs * height * breadth
    if layer.kind == "norm":
      values += NORM_CROSSINGS * outputs
    elif layer.kind == "conv":
      inputs = layer.inputs * height * breadth * layer.stride**2
      values += CONV_CROSSINGS["inputs"] * inputs + CONV_CROSSINGS["outputs"] * outputs
  return values * width * batch_size


def bandwidth(mebibytes: int) -> float:
  """Returns bytes a second, read and written, of the best of some copies on one device."""
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
  side = sides.resjax(_DEPTH.value, _BATCH.value, models.Loop(_UNROLL.value), _PRECISION.value)
  rates = measure.alternate({"resjax": side}, least=1)["resjax"]
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
