"""Memory of the training step by depth, with and without rematerialisation, as the compiler plans it.

    python -m benchmarks.memory [--depths 20,110,1202] [--batch_size 128] [--out memory.json]

Nothing is trained: the step is compiled and asked for the size of its temporary buffers, a device.
"""

import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import app, flags

from resjax import models
from resjax.config import Data, Model, Train
from resjax.data.augment import Statistics
from resjax.train import state, step, together

_DEPTHS = flags.DEFINE_list("depths", ["20", "110", "1202"], "Depths of residual nets.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images a step, on one device.")
_OUT = flags.DEFINE_string("out", "", "JSON file to write.")


def measure(depth: int, remat: str, batch_size: int) -> dict[str, float | int | str]:
  model, train, data = Model(depth=depth), Train(batch_size=batch_size), Data()
  shape = jax.ShapeDtypeStruct
  images = step.TrainingData(
    shape((50_000, 32, 32, 3), jnp.uint8),
    shape((50_000,), jnp.int32),
    Statistics(shape((32, 32, 3), jnp.float32), shape((3,), jnp.float32)),
  )
  net = models.build(model, 10, models.Loop(1, remat))
  one = state.initial.eval_shape(model, train, 10, (32, 32, 3), 0)
  before = together.stack.eval_shape([one])
  start = time.perf_counter()
  compiled = step.train_steps.lower(
    net, train, data, 100, before, together.numbers([train]), images, shape((), jnp.int32)
  ).compile()
  return {
    "depth": depth,
    "remat": remat,
    "batch": batch_size,
    "temporary GiB": round(compiled.memory_analysis().temp_size_in_bytes / 2**30, 3),
    "compile s": round(time.perf_counter() - start, 1),
  }


def main(_) -> None:
  rows = [
    measure(depth, remat, _BATCH.value)
    for depth in (int(d) for d in _DEPTHS.value)
    for remat in ("none", "block", "group")
  ]
  print("  ".join(f"{key:>13}" for key in rows[0]))
  for row in rows:
    print("  ".join(f"{value!s:>13}" for value in row.values()))
  if _OUT.value:
    Path(_OUT.value).write_text(json.dumps({"device": jax.devices()[0].device_kind, "rows": rows}, indent=1))


if __name__ == "__main__":
  app.run(main)
