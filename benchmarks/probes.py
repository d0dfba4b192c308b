"""Cost of capturing the responses of every layer each 100 steps: training throughput with and without captures.

    python -m benchmarks.probes [--depth 20] [--every 100] [--rounds 50] [--out probes.json]

A cost of one percent is within the noise of complete runs. Therefore intervals of two steps are timed, alternately
without a capture and after one, which magnifies the cost fifty times; the additional time, including its effects on the
next steps, is then related to --every steps. The benchmark first checks that the lowered training step is the same in
both cases.
"""

import statistics
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from scipy import stats

from benchmarks import implementations, measure
from resjax import mesh, models
from resjax.config import Config, Data, Execution, Model, Responses, Train
from resjax.data import Dataset
from resjax.train import batched_runs, state, step
from resjax.train.input import in_memory

_DEPTH = flags.DEFINE_integer("depth", 20, "Depth of the residual network.")
_BATCH = flags.DEFINE_integer("batch_size", 128, "Images per step.")
_EVERY = flags.DEFINE_integer("every", 100, "Steps between captures.")
_IMAGES = flags.DEFINE_integer("images", Responses.images, "Images of a capture.")
INTERVAL = 2  # steps timed with a capture and without


def random_images() -> Dataset:
  rng = np.random.default_rng(0)
  images, labels = (
    rng.integers(0, 256, (4096, *implementations.IMAGE), np.uint8),
    rng.integers(0, 10, 4096).astype(np.int32),
  )
  none = np.zeros((0, *implementations.IMAGE), np.uint8), np.zeros(0, np.int32)
  return Dataset("random", "", "", 10, "", images, labels, *none, images[:1024], labels[:1024], notes=(), skipped=())


class Training:
  """A run without records."""

  def __init__(self, captures: bool):
    self.settings = Config(
      model=Model(depth=_DEPTH.value),
      data=Data(),
      train=Train(batch_size=_BATCH.value),
      execution=Execution(log_every=INTERVAL),
      responses=Responses(every=_EVERY.value if captures else 0, images=_IMAGES.value),
    )
    self.captures, self.done, self.mesh = captures, 0, mesh.make(self.settings)
    with jax.set_mesh(self.mesh):
      self.net = models.build(self.settings.model, 10)
      self.images = in_memory.InMemoryInput(self.settings, random_images(), self.net)
      start = state.initial(self.settings.model, self.settings.train, 10, implementations.IMAGE, 0)
      self.states = jax.device_put(batched_runs.stack([start]), mesh.replicated(self.mesh))
    self.hyperparameters = batched_runs.hyperparameters([self.settings.train])

  def lowered(self) -> str:
    """Returns the text of the training program."""
    with jax.set_mesh(self.mesh):
      return step.train_steps.lower(
        step.Program(self.net, self.settings.train, self.settings.data),
        INTERVAL,
        self.states,
        self.hyperparameters,
        self.images.training_set,
        jnp.int32(0),
      ).as_text()

  def __call__(self, intervals: int) -> None:
    """Trains a number of intervals, each after a capture if responses are captured."""
    with jax.set_mesh(self.mesh):
      for _ in range(intervals):
        if self.captures:
          variables = {"params": self.states.params, "batch_stats": self.states.batch_stats}
          jax.device_get(self.images.capture_responses(jax.tree.map(lambda leaf: leaf[0], variables)))
        self.done += INTERVAL
        self.states, _ = self.images.advance(self.states, self.hyperparameters, self.done, INTERVAL)
      jax.block_until_ready(self.states)


def main(_) -> None:
  mesh.start_backend(Path("runs"))
  made = {"without": Training(False), "with": Training(True)}
  same = len({training.lowered() for training in made.values()}) == 1
  print(f"the lowered training step is the same text: {same}")
  rates = measure.alternate(made, least=1)
  rounds = zip(rates["without"], rates["with"], strict=True)
  costs = [(without / captured - 1) * INTERVAL / _EVERY.value for without, captured in rounds]
  low, high = (f"{100 * bound:.2f}" for bound in stats.quantile_test(costs).confidence_interval(0.95))
  row = {
    "images of a capture": _IMAGES.value,
    f"{INTERVAL} steps, s": measure.spread((1 / rate for rate in rates["without"]), 2),
    "after a capture, s": measure.spread((1 / rate for rate in rates["with"]), 2),
    f"cost each {_EVERY.value} steps, %": f"{100 * statistics.median(costs):.2f} (95 %: {low} to {high})",
    "throughput": f"{1 / (1 + statistics.median(costs)):.3f}",
  }
  measure.report([row], same_text=same, depth=_DEPTH.value, batch_size=_BATCH.value, intervals_per_second=rates)


if __name__ == "__main__":
  flags.set_default(measure.ROUNDS, 50)  # short ones: an interval of confidence needs many
  flags.set_default(measure.SECONDS, 1.0)
  app.run(main)
