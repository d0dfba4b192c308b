"""Training throughput in images a second, against PyTorch and plain Flax, in alternating runs of one process.

    pip install torch
    python -m benchmarks.train_step [--depths 20,56,110] [--batch_size 128] [--rounds 3] [--out train_step.json]

resjax's side is the whole step of a run: order, crop and mirror, forward, backward, SGD with momentum and weight decay.
The other sides get one batch that is there already. All use all cores, float32 and the same environment. The table has
the median of the rounds; ratios are of medians.
"""

import functools
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags

from benchmarks.plain_flax import PlainResNet
from resjax import mesh, models
from resjax.config import Config, Data, Model, Train
from resjax.data.augment import statistics as image_statistics
from resjax.train import state, step, together

_DEPTHS = flags.DEFINE_list("depths", ["20", "56", "110"], "Depths of residual nets.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images a step.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Timed runs of each side, in turn.")
_SECONDS = flags.DEFINE_float("seconds", 5.0, "About how long one timed run takes.")
_SIDES = flags.DEFINE_list("sides", [], "Only these sides; empty: all that can run here.")
_OUT = flags.DEFINE_string("out", "", "JSON file to write.")

Side = Callable[[int], None]  # trains for so many steps and returns when they are done


def resjax_side(depth: int, batch_size: int, unroll: int) -> Side:
  """resjax with so many blocks a turn of the loop, on all devices."""
  model, train, data = Model(depth=depth), Train(batch_size=batch_size), Data()
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (4096, 32, 32, 3), np.uint8)
  labels = rng.integers(0, 10, 4096).astype(np.int32)
  with jax.set_mesh(mesh.make(Config(train=train))):
    everywhere = mesh.replicated(jax.sharding.get_mesh())
    current = together.stack([jax.device_put(state.initial(model, train, 10, (32, 32, 3), seed=0), everywhere)])
    training_set = jax.device_put(step.TrainingData(images, labels, image_statistics(images, data)), everywhere)
  numbers = together.numbers([train])
  net, done = models.build(model, 10, models.Loop(unroll)), 0

  def run(steps: int) -> None:
    nonlocal current, done
    with jax.set_mesh(everywhere.mesh):
      for stop in [*range(done + 100, done + steps, 100), done + steps]:
        current, _ = step.train_steps(net, train, data, 100, current, numbers, training_set, jnp.int32(stop))
      done += steps
      jax.block_until_ready(current)

  return run


def plain_flax_side(depth: int, batch_size: int) -> Side:
  """Flax's own layers, unrolled, a dispatch a step, on one device."""
  net, sgd = PlainResNet(depth), optax.chain(optax.add_decayed_weights(1e-4), optax.sgd(0.1, momentum=0.9))
  images = jax.random.normal(jax.random.key(0), (batch_size, 32, 32, 3))
  labels = jnp.arange(batch_size) % 10
  variables = jax.jit(net.init)(jax.random.key(1), images[:1])
  carry = variables["params"], variables["batch_stats"], sgd.init(variables["params"])

  @functools.partial(jax.jit, donate_argnums=0)
  def train_step(carry):
    params, stats, momentum = carry

    def loss_of(params):
      logits, updates = net.apply({"params": params, "batch_stats": stats}, images, mutable=["batch_stats"])
      return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), updates["batch_stats"]

    gradients, stats = jax.grad(loss_of, has_aux=True)(params)
    updates, momentum = sgd.update(gradients, momentum, params)
    return optax.apply_updates(params, updates), stats, momentum

  def run(steps: int) -> None:
    nonlocal carry
    for _ in range(steps):
      carry = train_step(carry)
    jax.block_until_ready(carry)

  return run


def torch_side(depth: int, batch_size: int, channels_last: bool, compiled: bool) -> Side:
  """PyTorch on its GPU or all cores, eager or compiled with CUDA graphs."""
  import torch

  from benchmarks.torch_net import resnet

  device = "cuda" if torch.cuda.is_available() else "cpu"
  torch.set_num_threads(len(os.sched_getaffinity(0)))
  layout = torch.channels_last if channels_last else torch.contiguous_format
  net = resnet(depth).to(device, memory_format=layout)
  images = torch.randn(batch_size, 3, 32, 32, device=device).to(memory_format=layout)
  labels = torch.arange(batch_size, device=device) % 10
  sgd = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
  forward = torch.compile(net, mode="max-autotune") if compiled else net

  def run(steps: int) -> None:
    for _ in range(steps):
      sgd.zero_grad()
      torch.nn.functional.cross_entropy(forward(images), labels).backward()
      sgd.step()
    if device == "cuda":
      torch.cuda.synchronize()

  return run


def sides(depth: int, batch_size: int) -> dict[str, Side]:
  """Returns what can run here, by name, warmed up."""
  made: dict[str, Callable[[], Side]] = {
    "resjax scanned": lambda: resjax_side(depth, batch_size, unroll=1),
    "resjax scanned by 2": lambda: resjax_side(depth, batch_size, unroll=2),
    "resjax unrolled": lambda: resjax_side(depth, batch_size, unroll=1000),
    "plain Flax": lambda: plain_flax_side(depth, batch_size),
    "torch NCHW": lambda: torch_side(depth, batch_size, channels_last=False, compiled=False),
    "torch channels_last": lambda: torch_side(depth, batch_size, channels_last=True, compiled=False),
  }
  if jax.devices()[0].platform == "gpu":
    made["torch.compile max-autotune, channels_last"] = lambda: torch_side(depth, batch_size, True, compiled=True)
  return {name: make() for name, make in made.items() if not _SIDES.value or name in _SIDES.value}


def measure(depth: int, batch_size: int) -> dict[str, list[float]]:
  """Returns images a second of every side, one figure a round."""
  running = sides(depth, batch_size)
  steps, rates = {}, {name: [] for name in running}
  for name, run in running.items():
    run(2)
    start = time.perf_counter()
    run(2)
    steps[name] = max(2, round(2 * _SECONDS.value / (time.perf_counter() - start)))
  for _ in range(_ROUNDS.value):
    for name, run in running.items():
      start = time.perf_counter()
      run(steps[name])
      rates[name].append(steps[name] * batch_size / (time.perf_counter() - start))
  return rates


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  results = {}
  for depth in (int(d) for d in _DEPTHS.value):
    rates = measure(depth, _BATCH.value)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ours = medians.get("resjax scanned") or next(iter(medians.values()))
    for name, median in medians.items():
      low, high = min(rates[name]), max(rates[name])
      print(f"depth {depth:4}  {name:42} {median:8.0f} images/s ({low:.0f} to {high:.0f})  ratio {ours / median:.2f}")
    results[depth] = rates
  if _OUT.value:
    devices = {"kind": jax.devices()[0].device_kind, "count": jax.device_count()}
    found = {"devices": devices, "batch_size": _BATCH.value, "images_per_second": results}
    Path(_OUT.value).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
  app.run(main)
