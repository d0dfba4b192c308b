"""Training on the digits in this process, for tests of the training step."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from resjax import data, models
from resjax.config import Data, Model, Train
from resjax.data.augment import statistics
from resjax.train import batched_runs, state, step


def training_set(settings: Data) -> step.TrainingData:
  """Returns the training images and labels of the digits, with the statistics for their normalization."""
  digits = data.load(settings)
  return step.TrainingData(digits.train_images, digits.train_labels, statistics(digits.train_images, settings))


def train(
  model: Model, train: Train, settings: Data, images: step.TrainingData, seeds: Sequence[int], stops: Sequence[int]
) -> tuple[state.State, list[Any]]:
  """Trains one run per seed in one program.

  Args:
    model: Architecture.
    train: Settings of training, the same for all runs.
    settings: Settings of the data set.
    images: Training set.
    seeds: Seeds of the runs.
    stops: Steps at which an interval of training ends; the last one is the end of training.

  Returns:
    States after the last stop, and for each interval the sums of the losses of its steps, float32 [seeds].
  """
  states = batched_runs.stack([state.initial(model, train, 10, (8, 8, 1), seed) for seed in seeds])
  program = step.Program(models.build(model, 10), train, settings)
  hyperparameters = batched_runs.hyperparameters([train] * len(seeds))
  losses = []
  for stop in stops:
    states, intervals = step.train_steps(program, stops[-1], states, hyperparameters, images, jnp.int32(stop))
    losses.append(intervals.loss)
  return jax.device_get((states, losses))
