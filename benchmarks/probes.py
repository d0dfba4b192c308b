"""What it costs to capture every layer's responses each 100 steps: training throughput with and without.

    python -m benchmarks.probes [--depth 20] [--every 100] [--rounds 3] [--out probes.json]

A step of this benchmark is an interval of --every training steps; with captures, each ends with one. The lowered
training step is the same text either way, which is checked first.
"""

import statistics
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import measure, sides
from resjax import mesh, models
from resjax.config import Config, Data, Execution, Model, Responses, Train
from resjax.data import Dataset
from resjax.train import resident, state, step, together

_DEPTH = flags.DEFINE_integer("depth", 20, "Depth of the residual net.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images a step.")
_EVERY = flags.DEFINE_integer("every", 100, "Steps between captures.")
_IMAGES = flags.DEFINE_integer("images", 1024, "Images of a capture.")


def random_images() -> Dataset:
  rng = np.random.default_rng(0)
  images, labels = rng.integers(0, 256, (4096, *sides.IMAGE), np.uint8), rng.integers(0, 10, 4096).astype(np.int32)
  none = np.zeros((0, *sides.IMAGE), np.uint8), np.zeros(0, np.int32)
  return Dataset("random", "", 10, "", images, labels, *none, images[:1024], labels[:1024], notes=(), skipped=())


class Training:
  """A run without records."""

  def __init__(self, captures: bool):
    self.settings = Config(
      model=Model(depth=_DEPTH.value),
      data=Data(),
      train=Train(batch_size=_BATCH.value),
      execution=Execution(log_every=_EVERY.value),
      responses=Responses(every=_EVERY.value if captures else 0, images=_IMAGES.value),
    )
    self.captures, self.done, self.mesh = captures, 0, mesh.make(self.settings)
    with jax.set_mesh(self.mesh):
      self.net = models.build(self.settings.model, 10)
      self.images = resident.Resident(self.settings, random_images(), self.net)
      start = state.initial(self.settings.model, self.settings.train, 10, sides.IMAGE, 0)
      self.states = jax.device_put(together.stack([start]), mesh.replicated(self.mesh))
    self.numbers = together.numbers([self.settings.train])

  def lowered(self) -> str:
    """Returns the text of the training program."""
    with jax.set_mesh(self.mesh):
      return step.train_steps.lower(
        self.net,
        self.settings.train,
        self.settings.data,
        _EVERY.value,
        self.states,
        self.numbers,
        self.images.training_set,
        jnp.int32(0),
      ).as_text()

  def __call__(self, intervals: int) -> None:
    """Trains so many intervals."""
    with jax.set_mesh(self.mesh):
      for _ in range(intervals):
        self.done += _EVERY.value
        self.states, _ = self.images.advance(self.states, self.numbers, self.done, _EVERY.value)
        if self.captures:
          variables = {"params": self.states.params, "batch_stats": self.states.batch_stats}
          jax.device_get(self.images.capture(jax.tree.map(lambda leaf: leaf[0], variables)))
      jax.block_until_ready(self.states)


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  made = {"never captured": Training(False), f"captured each {_EVERY.value} steps": Training(True)}
  same = len({training.lowered() for training in made.values()}) == 1
  print(f"the lowered training step is the same text: {same}")
  rates = measure.alternate(made, least=1)
  first = statistics.median(rates["never captured"])
  images = _EVERY.value * _BATCH.value
  rows = [
    {
      "side": name,
      "images/s": measure.spread(value * images for value in values),
      "over never": f"{statistics.median(values) / first:.3f}",
    }
    for name, values in rates.items()
  ]
  measure.report(rows, same_text=same, depth=_DEPTH.value, batch_size=_BATCH.value, intervals_per_second=rates)


if __name__ == "__main__":
  app.run(main)
