"""Duration of tracing, compilation and initialization by depth, and the size of the program.

    python -m benchmarks.compile [--depths 20,110,1202] [--plain_depths 20,110] [--rounds 3] [--out compile.json]

The program is resjax's complete training program, with the loop over blocks and, up to --unrolled_most layers,
unrolled; plain Flax is unrolled. Each value is from a process of its own without a compilation cache.
"""

import functools
import json
import os
import subprocess
import sys
import time

from absl import app, flags

from benchmarks import measure

_DEPTHS = flags.DEFINE_list("depths", ["20", "110", "1202"], "Depths of the residual networks.")
_PLAIN = flags.DEFINE_list("plain_depths", ["20", "110"], "Depths at which plain Flax is compiled as well.")
_MOST = flags.DEFINE_integer("unrolled_most", 110, "Depth up to which resjax is compiled unrolled as well.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per step.")
_ONE = flags.DEFINE_string("one", "", "Internal: measure only FORM:DEPTH and print the result as JSON.")
PARTS = ("trace", "compile", "init")


def resjax(depth: int, batch: int, unroll: int) -> dict[str, float]:
  """Returns the seconds of each part of resjax, and the number of lines of the lowered program."""
  import jax
  import jax.numpy as jnp

  from benchmarks.implementations import IMAGE
  from resjax import mesh, models
  from resjax.config import Config, Data, Model, Train
  from resjax.data.augment import Statistics
  from resjax.train import batched_runs, state, step

  jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
  model, train, data, shape = Model(depth=depth), Train(batch_size=batch), Data(), jax.ShapeDtypeStruct
  images = step.TrainingData(
    shape((50_000, *IMAGE), jnp.uint8),
    shape((50_000,), jnp.int32),
    Statistics(shape(IMAGE, jnp.float32), shape((3,), jnp.float32)),
  )
  with jax.set_mesh(mesh.make(Config(train=train))):
    start = time.perf_counter()
    first = jax.block_until_ready(state.initial(model, train, 10, IMAGE, 0))
    init = time.perf_counter() - start
    states, hyperparameters = batched_runs.stack([first]), batched_runs.hyperparameters([train])
    start = time.perf_counter()
    net = models.build(model, 10, models.ScanOptions(unroll))
    program = step.Program(net, train, data)
    lowered = step.train_steps.lower(program, 100, states, hyperparameters, images, shape((), jnp.int32))
    return timed(lowered, time.perf_counter() - start) | {"init": init}


def plain_flax(depth: int, batch: int) -> dict[str, float]:
  """Returns the same of plain Flax, with one dispatch per step on one device."""
  import jax
  import jax.numpy as jnp
  import optax

  from benchmarks.implementations import IMAGE
  from benchmarks.plain_flax import PlainResNet

  net, sgd = PlainResNet(depth), optax.sgd(0.1, momentum=0.9)
  images, labels = jnp.zeros((batch, *IMAGE)), jnp.arange(batch) % 10
  start = time.perf_counter()
  variables = jax.block_until_ready(jax.jit(net.init)(jax.random.key(1), images[:1]))
  init = time.perf_counter() - start

  @jax.jit
  def train_step(params, stats, momentum):
    def loss_of(params):
      logits, updates = net.apply({"params": params, "batch_stats": stats}, images, mutable=["batch_stats"])
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates["batch_stats"]

    gradients, stats = jax.grad(loss_of, has_aux=True)(params)
    updates, momentum = sgd.update(gradients, momentum, params)
    return optax.apply_updates(params, updates), stats, momentum

  start = time.perf_counter()
  lowered = train_step.lower(variables["params"], variables["batch_stats"], sgd.init(variables["params"]))
  return timed(lowered, time.perf_counter() - start) | {"init": init}


def timed(lowered, trace: float) -> dict[str, float]:
  start = time.perf_counter()
  lowered.compile()
  return {"trace": trace, "compile": time.perf_counter() - start, "lines": len(lowered.as_text().splitlines())}


FORMS = {
  "scanned": functools.partial(resjax, unroll=1),
  "unrolled": functools.partial(resjax, unroll=1000),
  "plain Flax": plain_flax,
}


def in_a_process(form: str, depth: str) -> dict[str, float]:
  command = [sys.executable, "-m", "benchmarks.compile", f"--one={form}:{depth}", f"--batch_size={_BATCH.value}"]
  environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
  ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
  return json.loads(ended.stdout.splitlines()[-1])


def main(_) -> None:
  if _ONE.value:
    form, depth = _ONE.value.split(":")
    print(json.dumps(FORMS[form](int(depth), _BATCH.value)))
    return
  wanted = [("scanned", depth) for depth in _DEPTHS.value]
  wanted += [("unrolled", depth) for depth in _DEPTHS.value if int(depth) <= _MOST.value]
  wanted += [("plain Flax", depth) for depth in _PLAIN.value]
  found: dict[tuple[str, str], list[dict[str, float]]] = {each: [] for each in wanted}
  for _ in range(measure.ROUNDS.value):
    for each in wanted:
      found[each].append(in_a_process(*each))
  rows = []
  for (form, depth), runs in found.items():
    row = {"form": form, "depth": depth}
    row |= {f"{part} s": measure.spread((run[part] for run in runs), 1) for part in PARTS}
    row["all s"] = measure.spread((sum(run[part] for part in PARTS) for run in runs), 1)
    rows.append(row | {"lines": int(runs[0]["lines"])})
  measure.report(rows, seconds={" ".join(each): runs for each, runs in found.items()})


if __name__ == "__main__":
  app.run(main)
