"""Whether training with the written-out convolution and norm is as stable as with the plain ones: curves side by side.

    python -m benchmarks.stability --data FOLDER [--depth 20] [--steps 300] [--out stability.json]

The same run, from the same weights on the same batches, once as resjax executes it here and once with
`lax.conv_general_dilated` and a batch norm that JAX differentiates. Means over each tenth of the steps.
"""

from pathlib import Path
from unittest import mock

import jax
from absl import app, flags

from benchmarks import measure
from resjax import data, mesh, models
from resjax.config import Config, Data, Model, Train
from resjax.models import conv, norm
from resjax.train import resident, state, together

_DATA = flags.DEFINE_string("data", None, "CIFAR-10 archive or folder.", required=True)
_DEPTH = flags.DEFINE_integer("depth", 20, "Depth of the residual net.")
_STEPS = flags.DEFINE_integer("steps", 300, "Steps of each side.")


def plain_normalize(x, scale, bias, epsilon):
  """Batch norm as one writes it, left to JAX to differentiate."""
  mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
  y = (x - mean) * scale * jax.lax.rsqrt(var + epsilon) + bias
  return y, jax.lax.stop_gradient(mean), jax.lax.stop_gradient(var)


def curve(dataset: data.Dataset, unroll: int) -> list[tuple[float, float]]:
  """Trains and returns loss and error of each tenth."""
  settings = Config(model=Model(depth=_DEPTH.value), train=Train(), data=Data())
  devices, every, found = mesh.make(settings), _STEPS.value // 10, []
  with jax.set_mesh(devices):
    images = resident.Resident(settings, dataset, models.build(settings.model, dataset.classes, models.Loop(unroll)))
    start = state.initial(settings.model, settings.train, dataset.classes, dataset.train_images.shape[1:], 0)
    states = jax.device_put(together.stack([start]), mesh.replicated(devices))
    for stop in range(every, _STEPS.value + 1, every):
      states, interval = images.advance(states, together.numbers([settings.train]), stop, every)
      found.append((float(interval.loss[0]) / every, float(interval.wrong[0]) / every))
      print(f"step {stop}: loss {found[-1][0]:.3f} error {100 * found[-1][1]:.1f} %", flush=True)
  return found


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  dataset = data.load(Data(path=_DATA.value, checksum="any"))
  ours = curve(dataset, unroll=1)
  jax.clear_caches()
  # Unrolled, because the plain forms are some twenty times slower inside a loop on a CPU.
  with mock.patch.object(conv, "conv", conv.plain), mock.patch.object(norm, "normalize", plain_normalize):
    plain = curve(dataset, unroll=1000)
  every = _STEPS.value // 10
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
