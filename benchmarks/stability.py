"""Stability of training with the custom gradients of convolution and norm, compared with automatic differentiation.

    python -m benchmarks.stability --data FOLDER [--depth 20] [--steps 300] [--out stability.json]

The same run, from the same weights on the same minibatches, is executed by resjax and, unrolled, with
`lax.conv_general_dilated` and a batch norm that JAX differentiates. The table has means over each tenth of the steps.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import jax
from absl import app, flags
from flax import linen as nn

from benchmarks import measure
from resjax import data, mesh, models
from resjax.config import Config, Data, Model, Train
from resjax.data.augment import augment, normalize
from resjax.data.order import batch_order
from resjax.models import conv, norm
from resjax.train import batched_runs, step
from resjax.train.input import in_memory
from resjax.train.state import State, initial

Advance = Callable[[State, int], tuple[State, float, float]]  # to a step; mean loss and error on the way
TENTHS = 10

_DATA = flags.DEFINE_string("data", None, "CIFAR-10 archive or folder.", required=True)
_DEPTH = flags.DEFINE_integer("depth", 20, "Depth of the residual network.")
_STEPS = flags.DEFINE_integer("steps", 300, "Steps of each run.", lower_bound=10)


def plain_normalize(x, scale, bias, epsilon):
  """Batch norm without a custom gradient."""
  mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
  y = (x - mean) * scale * jax.lax.rsqrt(var + epsilon) + bias
  return y, jax.lax.stop_gradient(mean), jax.lax.stop_gradient(var)


def as_executed(settings: Config, images: in_memory.InMemoryInput, net: nn.Module) -> Advance:
  """Returns a function that trains up to a step with the program of a run."""
  hyperparameters = batched_runs.hyperparameters([settings.train])

  def advance(state: State, stop: int) -> tuple[State, float, float]:
    start = int(state.step)
    states, interval = images.advance(batched_runs.stack([state]), hyperparameters, stop, _STEPS.value // TENTHS)
    steps = stop - start
    return jax.tree.map(lambda leaf: leaf[0], states), float(interval.loss[0]) / steps, float(interval.wrong[0]) / steps

  return advance


def step_by_step(settings: Config, images: in_memory.InMemoryInput, net: nn.Module) -> Advance:
  """Returns a function that trains on the same minibatches with one dispatch per step.

  In a loop on the device, the operations without custom gradients are some twenty times slower on a CPU.
  """
  train, data_settings, held = settings.train, settings.data, images.training_set

  @functools.partial(jax.jit, donate_argnums=0)
  def one(state: State, held: step.TrainingData):
    order_key, augment_key = jax.random.split(jax.random.wrap_key_data(state.key))
    chosen = mesh.shard_batch(batch_order(order_key, state.step, 1, len(held.labels), train.batch_size)[0])
    batch = normalize(held.images[chosen], held.statistics)
    batch = augment(jax.random.fold_in(augment_key, state.step), batch, data_settings.pad, data_settings.mirror)
    return step.train_step(net, train, state, batch, held.labels[chosen])

  def advance(state: State, stop: int) -> tuple[State, float, float]:
    sums, steps = [0.0, 0.0], stop - int(state.step)
    for _ in range(steps):
      state, loss, wrong, _ = one(state, held)
      sums = [sums[0] + float(loss), sums[1] + float(wrong)]
    return state, sums[0] / steps, sums[1] / steps

  return advance


def curve(dataset: data.Dataset, unroll: int, build: Callable[..., Advance]) -> list[tuple[float, float]]:
  """Trains and returns the mean loss and error of each tenth of the steps."""
  settings, found = Config(model=Model(depth=_DEPTH.value), train=Train(), data=Data()), []
  devices, every = mesh.make(settings), _STEPS.value // TENTHS
  with jax.set_mesh(devices):
    net = models.build(settings.model, dataset.classes, models.ScanOptions(unroll))
    advance = build(settings, in_memory.InMemoryInput(settings, dataset, net), net)
    start = initial(settings.model, settings.train, dataset.classes, dataset.train_images.shape[1:], 0)
    state = jax.device_put(start, mesh.replicated(devices))
    for stop in range(every, _STEPS.value + 1, every):
      state, loss, error = advance(state, stop)
      found.append((loss, error))
      print(f"step {stop}: loss {loss:.3f} error {100 * error:.1f} %", flush=True)
  return found


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  dataset = data.load(Data(path=_DATA.value, checksum="any"))
  ours = curve(dataset, 1, as_executed)
  jax.clear_caches()
  with mock.patch.object(conv, "conv", conv.plain), mock.patch.object(norm, "normalize", plain_normalize):
    plain = curve(dataset, 1000, step_by_step)
  every = _STEPS.value // TENTHS
  rows = [
    {
      "steps": f"{i * every + 1} to {(i + 1) * every}",
      "loss": f"{a[0]:.3f}",
      "plain forms": f"{b[0]:.3f}",
      "error %": f"{100 * a[1]:.1f}",
      "plain forms %": f"{100 * b[1]:.1f}",
    }
    for i, (a, b) in enumerate(zip(ours, plain, strict=True))
  ]
  measure.report(rows, depth=_DEPTH.value, written_out=ours, plain=plain)


if __name__ == "__main__":
  app.run(main)
