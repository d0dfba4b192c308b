"""Networks with random weights, in memory and as run directories, for tests of code that reads trained networks."""

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

DIGITS = Data(name="digits", pad=1, mirror=False)


def _random_array(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
  """Returns random values of a parameter or statistic, float32, which neither amplify nor attenuate signals.

  Args:
    rng: Source of random numbers.
    name: Last part of the path of the variable, such as "kernel".
    shape: Shape of the variable; kernels of scanned blocks have a leading axis of blocks.
  """
  if name == "kernel":
    value = rng.normal(0, np.prod(shape[-4:-1]) ** -0.5, shape)
  else:
    value = rng.uniform(0.5, 1.5, shape) if name in ("scale", "var") else rng.normal(0, 0.5, shape)
  return value.astype(np.float32)


def write_run(
  directory: Path,
  model: Model,
  data: Data,
  side: int,
  classes: int,
  seed: int = 0,
  channels: int = 3,
  mean_image: bool = False,
  nan: bool = False,
) -> Path:
  """Writes a run directory with the checkpoint of a random network.

  Args:
    directory: Run directory to create.
    model: Architecture.
    data: Settings of the data set.
    side: Height and width of the images.
    classes: Number of classes.
    seed: Seed of the variables and of the mean.
    channels: Number of channels of the images.
    mean_image: Whether the mean is an image instead of one number per channel.
    nan: Whether one bias is NaN.

  Returns:
    The run directory.
  """
  rng = np.random.default_rng(seed)
  image_shape = (side, side, channels)
  variables = {
    path: _random_array(rng, path.rpartition("/")[2], shape)
    for path, shape in mapping.shapes(model, classes, image_shape).items()
  }
  if nan:
    variables["params/head/dense/bias"][:] = np.nan
  tree = traverse_util.unflatten_dict(variables, sep="/")
  mean = rng.uniform(0.3, 0.6, image_shape if mean_image else channels).astype(np.float32)
  statistics = Statistics(mean, np.full(channels, 0.25, np.float32))
  import_run.write(directory, mapping.Weights(model, data, image_shape, classes, statistics, tree, {}), "a test")
  return directory


def write_digits_run(directory: Path, model: Model, side: int = 8) -> Path:
  """Writes a run directory of a random network for the digits and returns it.

  Args:
    directory: Run directory to create.
    model: Architecture.
    side: Height and width of the images that the network takes; those of the digits are 8.
  """
  return write_run(directory, model, DIGITS, side, 10, channels=1)


def restored_run(model: Model, side: int, classes: int = 10, channels: int = 1, seed: int = 0) -> RestoredRun:
  """Returns a random network in memory, without compiling any program.

  Args:
    model: Architecture.
    side: Height and width of the images.
    classes: Number of classes.
    channels: Number of channels of the images.
    seed: Seed of the variables.
  """
  rng, image_shape = np.random.default_rng(seed), (side, side, channels)
  shapes = state.initial.eval_shape(model, Train(), classes, image_shape, 0)
  variables = jax.tree_util.tree_map_with_path(
    lambda path, leaf: jnp.asarray(_random_array(rng, path[-1].key, leaf.shape)),
    {"params": shapes.params, "batch_stats": shapes.batch_stats},
  )
  statistics = Statistics(np.full(channels, 0.45, np.float32), np.full(channels, 0.25, np.float32))
  return RestoredRun(Path("in memory"), Config(model=model), InputSpec(image_shape, statistics), classes, 0, variables)
