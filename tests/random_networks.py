"""Nets of random weights, in memory and as run directories, for tests of what reads them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from resjax.config import Config, Data, Model, Train
from resjax.data.augment import Statistics
from resjax.train import state
from resjax.train.run_files import InputSpec, RestoredRun
from resjax.weights import import_run, mapping


def write(
  directory: Path,
  model: Model,
  data: Data,
  side: int,
  classes: int,
  seed: int = 0,
  channels: int = 3,
  mean_image: bool = False,
  nothing: bool = False,
) -> Path:
  """Writes a net for images of `side` pixels; its kernels are scaled so that signals neither grow nor vanish.

  With `nothing` the last bias is not a number.
  """
  rng = np.random.default_rng(seed)
  image_shape = (side, side, channels)
  variables = {}
  for path, shape in mapping.shapes(model, classes, image_shape).items():
    leaf = path.rpartition("/")[2]
    if leaf == "kernel":
      value = rng.normal(0, np.prod(shape[:-1]) ** -0.5, shape)
    else:
      value = rng.uniform(0.5, 1.5, shape) if leaf in ("scale", "var") else rng.normal(0, 0.5, shape)
    variables[path] = value.astype(np.float32)
  if nothing:
    variables["params/head/dense/bias"][:] = np.nan
  tree = traverse_util.unflatten_dict(variables, sep="/")
  mean = rng.uniform(0.3, 0.6, image_shape if mean_image else channels).astype(np.float32)
  statistics = Statistics(mean, np.full(channels, 0.25, np.float32))
  import_run.write(directory, mapping.Weights(model, data, image_shape, classes, statistics, tree, {}), "a test")
  return directory


def net(model: Model, side: int, classes: int = 10, channels: int = 1, seed: int = 0) -> RestoredRun:
  """A net in memory; nothing is compiled for it."""
  rng, image_shape = np.random.default_rng(seed), (side, side, channels)
  shapes = state.initial.eval_shape(model, Train(), classes, image_shape, 0)

  def drawn(path, leaf):
    if path[-1].key == "kernel":
      value = rng.normal(0, np.prod(leaf.shape[-4:-1]) ** -0.5, leaf.shape)
    else:
      value = rng.uniform(0.5, 1.5, leaf.shape) if path[-1].key in ("scale", "var") else rng.normal(0, 0.5, leaf.shape)
    return jnp.asarray(value, jnp.float32)

  tree = {"params": shapes.params, "batch_stats": shapes.batch_stats}
  variables = jax.tree_util.tree_map_with_path(drawn, tree)
  statistics = Statistics(np.full(channels, 0.45, np.float32), np.full(channels, 0.25, np.float32))
  taken = InputSpec(image_shape, statistics)
  return RestoredRun(Path("in memory"), Config(model=model), taken, classes, 0, variables)
