"""The interface of all input strategies."""

import abc
from typing import Any, NamedTuple

from resjax.data.augment import Statistics
from resjax.train.state import State
from resjax.train.step import Hyperparameters, Interval


class SplitResult(NamedTuple):
  """Result of an evaluation on one split.

  Attributes:
    images: Number of images that were evaluated.
    loss: Sum of their losses in nats.
    wrong: Number of misclassified images.
  """

  images: int
  loss: float
  wrong: int


class InputStrategy(abc.ABC):
  """The images of a data set, and what is computed on them on the devices of the current mesh.

  Attributes:
    splits: Names of the splits that can be evaluated: "test" and, if images are held out for validation, first "val".
    images: Number of training images.
    statistics: Mean and standard deviation that the images are normalized with.
  """

  splits: tuple[str, ...]
  images: int
  statistics: Statistics

  @abc.abstractmethod
  def advance(
    self, states: State, hyperparameters: Hyperparameters, stop: int, max_steps: int
  ) -> tuple[State, Interval]:
    """Trains runs until `stop` steps are done.

    Args:
      states: Train states at the same step, each leaf [runs, ...]. Their buffers are donated.
      hyperparameters: Hyperparameters of each run, see `batched_runs.hyperparameters`.
      stop: Step at which to stop.
      max_steps: Length of the longest interval of the run, in steps.

    Returns:
      The new train states, and the metrics of each run, each leaf [runs].
    """

  @abc.abstractmethod
  def evaluate(self, variables: Any, split: str) -> SplitResult:
    """Evaluates a network on every readable image of a split."""

  @abc.abstractmethod
  def average_statistics(self, variables: Any) -> Any:
    """Returns batch statistics averaged over the training set, in batches of images without augmentation.

    The last batch is filled up with the first images.
    """

  @abc.abstractmethod
  def capture_responses(self, variables: Any) -> Any:
    """Returns the moments of each layer's responses on the images of `config.Responses`, see `responses.capture`."""

  @abc.abstractmethod
  def capture_gradients(self, variables: Any) -> Any:
    """Returns gradient norms on the training images of `config.Gradients`, see `gradients.capture`."""

  @abc.abstractmethod
  def faults(self) -> tuple[str, ...]:
    """Returns a description of each image that could not be decoded so far."""

  def close(self) -> None:  # noqa: B027  (only strategies with worker processes have something to end)
    """Ends the worker processes, if there are any."""
