"""Input strategy for data sets held in device memory, so that neither training nor evaluation waits for the host."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from resjax import mesh
from resjax.config import Config
from resjax.data import Dataset
from resjax.data.augment import statistics
from resjax.train import evaluate, gradients, responses, state, step
from resjax.train.input.interface import ClassificationInput, SplitResult
from resjax.train.state import State


class InMemoryInput(ClassificationInput):
  """A data set that is copied to every device of the current mesh; see `ClassificationInput`."""

  def __init__(self, config: Config, dataset: Dataset, net: nn.Module):
    """Copies the images to the devices.

    Args:
      config: Settings of a run, or the shared settings of runs in one program.
      dataset: The images.
      net: The network.
    """
    self._config, self._net, self._faults = config, net, dataset.skipped
    self.image_shape, self._classes = dataset.image_shape, dataset.classes
    everywhere = mesh.replicated(jax.sharding.get_mesh())
    self.statistics = statistics(dataset.train_images, config.data)
    training_set = step.TrainingData(dataset.train_images, dataset.train_labels, self.statistics)
    splits = {"test": (dataset.test_images, dataset.test_labels)}
    if config.data.validation_images:
      splits = {"val": (dataset.validation_images, dataset.validation_labels), **splits}
    self.training_set: step.TrainingData = jax.device_put(training_set, everywhere)
    self._splits: dict[str, tuple[jax.Array, jax.Array]] = jax.device_put(splits, everywhere)
    self.splits, self.images = tuple(splits), len(dataset.train_labels)

  def initial_state(self, seed: int) -> State:
    """Returns the train state of a run before its first step: see `state.initial`."""
    return state.initial(self._config.model, self._config.train, self._classes, self.image_shape, seed)

  def advance(
    self, states: State, hyperparameters: step.Hyperparameters, stop: int, max_steps: int
  ) -> tuple[State, step.Interval]:
    """Trains runs in one dispatch: see `InputStrategy.advance` and `step.train_steps`."""
    program = step.Program(self._net, self._config.train, self._config.data)
    return step.train_steps(program, max_steps, states, hyperparameters, self.training_set, jnp.int32(stop))

  def evaluate(self, variables: Any, split: str) -> SplitResult:
    """Evaluates a network in one dispatch: see `InputStrategy.evaluate`."""
    images, labels = self._splits[split]
    size = self._config.evaluation.batch_size
    results = evaluate.evaluate(self._net, size, variables, images, labels, self.training_set.statistics)
    loss, wrong = jax.device_get(results)
    return SplitResult(len(labels), float(loss) / len(labels), int(wrong) / len(labels))

  def average_statistics(self, variables: Any) -> Any:
    """Averages batch statistics in one dispatch: see `ClassificationInput.average_statistics`."""
    return evaluate.training_set_statistics(
      self._net,
      self._config.train.batch_size,
      variables,
      self.training_set.images,
      self.training_set.statistics,
    )

  def capture_responses(self, variables: Any) -> Any:
    """Captures the responses of each layer: see `ClassificationInput.capture_responses`."""
    settings = self._config.responses
    images = self.training_set.images if settings.source == "train" else self._splits["test"][0]
    return responses.capture(self._net, settings, variables, images, self.training_set.statistics)

  def capture_gradients(self, variables: Any) -> Any:
    """Captures the gradient norms of each layer: see `ClassificationInput.capture_gradients`."""
    images = self.training_set
    return gradients.capture(
      self._net, self._config.gradients, variables, images.images, images.labels, images.statistics
    )

  def faults(self) -> tuple[str, ...]:
    """Returns a description of each image that could not be decoded when the data set was read."""
    return self._faults
