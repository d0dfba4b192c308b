"""A data set held on the devices: small enough that no step and no evaluation has to wait for the host."""

from typing import Any

import jax
import jax.numpy as jnp

from resjax import mesh
from resjax.config import Config
from resjax.data import Dataset
from resjax.data.augment import statistics
from resjax.train import evaluate, gradients, responses, step
from resjax.train.state import State


class InMemoryInput:
  """The images on the devices of the current mesh, and what is done with them.

  Attributes:
    splits: names of what can be evaluated, "test" and, where images are held out, "val".
    images: size of the training set.
    statistics: what images are normalised with.
  """

  def __init__(self, config: Config, dataset: Dataset, net: Any):
    """Copies the images to the devices.

    Args:
      config: of a run, or of runs that are trained together.
      dataset: its images.
      net: the model.
    """
    self._config, self._net, self._faults = config, net, dataset.skipped
    everywhere = mesh.replicated(jax.sharding.get_mesh())
    self.statistics = statistics(dataset.train_images, config.data)
    training_set = step.TrainingData(dataset.train_images, dataset.train_labels, self.statistics)
    splits = {"test": (dataset.test_images, dataset.test_labels)}
    if config.data.validation_images:
      splits = {"val": (dataset.validation_images, dataset.validation_labels), **splits}
    self.training_set: step.TrainingData = jax.device_put(training_set, everywhere)
    self._splits: dict[str, tuple[jax.Array, jax.Array]] = jax.device_put(splits, everywhere)
    self.splits, self.images = tuple(splits), len(dataset.train_labels)

  def advance(
    self, states: State, hyperparameters: dict[str, jax.Array], stop: int, longest: int
  ) -> tuple[State, step.Interval]:
    """Trains until `stop` steps are done, at most `longest` from here: see `step.train_steps`."""
    config = self._config
    return step.train_steps(
      self._net, config.train, config.data, longest, states, hyperparameters, self.training_set, jnp.int32(stop)
    )

  def evaluate(self, variables: Any, split: str) -> tuple[int, float, int]:
    """Returns how many images a split has, the sum of their losses (nats) and how many are wrong."""
    images, labels = self._splits[split]
    size = self._config.evaluation.batch_size
    results = evaluate.evaluate(self._net, size, variables, images, labels, self.training_set.statistics)
    loss, wrong = jax.device_get(results)
    return len(labels), float(loss), int(wrong)

  def average_statistics(self, variables: Any) -> Any:
    """Returns batch statistics averaged over the training set: see `evaluate.training_set_statistics`."""
    return evaluate.training_set_statistics(
      self._net,
      self._config.train.batch_size,
      variables,
      self.training_set.images,
      self.training_set.statistics,
    )

  def capture(self, variables: Any) -> Any:
    """Returns each layer's moments on the images of `config.Responses`: see `responses.capture`."""
    settings = self._config.responses
    images = self.training_set.images if settings.source == "train" else self._splits["test"][0]
    return responses.capture(self._net, settings, variables, images, self.training_set.statistics)

  def capture_gradients(self, variables: Any) -> Any:
    """Returns norms on the training images of `config.Gradients`: see `gradients.capture`."""
    images = self.training_set
    return gradients.capture(
      self._net, self._config.gradients, variables, images.images, images.labels, images.statistics
    )

  def faults(self) -> tuple[str, ...]:
    """Returns what is wrong with each broken image."""
    return self._faults

  def close(self) -> None:
    """There is nothing to end."""
