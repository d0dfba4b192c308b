"""Effect of rounding on training: the losses on several meshes, and on one device after perturbation by rounding.

    JAX_NUM_CPU_DEVICES=8 python -m benchmarks.rounding [--depth 20] [--steps 50] [--starts 12] [--out rounding.json]

Meshes sum in different orders, so their steps differ by rounding, and training magnifies what differs: a unit within a
rounding of zero passes its gradient on one mesh and not on the other. The starts show how far that goes without any
mesh: each of their parameters stays or becomes, at random, the next larger or smaller float32.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import measure
from resjax import data, mesh, models
from resjax.config import Config, Data, Execution, Model, Train
from resjax.data.augment import statistics
from resjax.train import batched_runs, state, step

_DEPTH = flags.DEFINE_integer("depth", 20, "Depth of the residual network.")
_STEPS = flags.DEFINE_integer("steps", 50, "Steps of training, at least 10.", lower_bound=10)
_STARTS = flags.DEFINE_integer("starts", 12, "Starts that differ by a rounding.")
_MESHES = flags.DEFINE_list("meshes", "8x1,1x8,4x2,2x4", "Meshes, data by fsdp.")
_RATE = flags.DEFINE_float("learning_rate", 0.01, "Learning rate.")
_DATA = Data(name="digits", pad=1, mirror=False)


def losses(settings: Config, digits: data.Dataset, start: state.State) -> list[float]:
  """Returns the training loss of each step on the mesh of the settings."""
  net, found = models.build(settings.model, digits.classes), []
  with jax.set_mesh(mesh.make(settings)):
    here = jax.sharding.get_mesh()
    images = digits.train_images, digits.train_labels, statistics(digits.train_images, settings.data)
    training_set = jax.device_put(step.TrainingData(*images), mesh.replicated(here))
    states = batched_runs.stack([jax.device_put(start, mesh.state_shardings(here, start))])
    hyperparameters = jax.device_put(batched_runs.hyperparameters([settings.train]), mesh.replicated(here))
    for stop in range(1, _STEPS.value + 1):
      states, interval = step.train_steps(
        step.Program(net, settings.train, settings.data), 1, states, hyperparameters, training_set, jnp.int32(stop)
      )
      found.append(float(interval.loss[0]))
  return found


def perturbed(start: state.State, seed: int) -> state.State:
  """Returns the state with each parameter unchanged or replaced by one of its two neighbors in float32."""
  rng = np.random.default_rng(seed)

  def perturb(leaf: np.ndarray) -> np.ndarray:
    return leaf + rng.integers(-1, 2, leaf.shape).astype(np.float32) * np.spacing(leaf)

  return dataclasses.replace(start, params=jax.tree.map(perturb, start.params))


def main(_) -> None:
  settings = Config(
    model=Model(depth=_DEPTH.value),
    data=_DATA,
    train=Train(batch_size=64, steps=_STEPS.value, learning_rate=_RATE.value),
    execution=Execution(devices=1),
  )
  digits = data.load(settings.data)
  shape = digits.train_images.shape[1:]
  start = jax.device_get(state.initial(settings.model, settings.train, digits.classes, shape, 0))
  found = {"one device": losses(settings, digits, start)}
  for name in _MESHES.value:
    parts, fsdp = map(int, name.split("x"))
    split = dataclasses.replace(settings, execution=Execution(devices=parts * fsdp, fsdp=fsdp))
    found[f"data={parts},fsdp={fsdp}"] = losses(split, digits, start)
  for seed in range(_STARTS.value):
    found[f"a rounding apart, {seed}"] = losses(settings, digits, perturbed(start, seed))
  shown = sorted({1, 3, 5, *range(10, _STEPS.value + 1, 10), _STEPS.value})
  alone = np.array(found["one device"])
  rows = [
    {
      "training": name,
      **{f"step {at}": f"{values[at - 1]:.6f}" for at in shown},
      "furthest in ten": f"{np.max(np.abs(np.array(values) / alone - 1)[:10]):.1e}",
    }
    for name, values in found.items()
  ]
  measure.report(rows, depth=_DEPTH.value, learning_rate=_RATE.value, losses=found)


if __name__ == "__main__":
  app.run(main)
