"""The interface of all input strategies, and that of the strategies for classification."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from resjax.data.augment import Statistics
from resjax.train.state import State
from resjax.train.step import Hyperparameters, Interval


@dataclasses.dataclass(frozen=True)
class SplitResult:
  """Result of an evaluation on one split.

  Attributes:
    images: Number of images that were evaluated.
    loss: Mean of their losses in nats; not finite where the evaluation computes no loss.
    error: Fraction of misclassified images; for a detector 1 - mAP at an IoU of 0.5.
    logs: Further lines by the name of their log, without the keys `step` and `split`.
    final_logs: Further lines likewise, which are written for the last evaluation of a run only.
  """

  images: int
  loss: float
  error: float
  logs: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
  final_logs: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)


class InputStrategy(abc.ABC):
  """The images of a data set, and the computations on them, on the devices of the current mesh.

  Attributes:
    splits: Names of the splits that can be evaluated: "test" and, if images are held out for validation, first "val".
    images: Number of training images.
    statistics: Mean and standard deviation that the images are normalized with.
    image_shape: Height, width and channels of an image.
  """

  splits: tuple[str, ...]
  images: int
  statistics: Statistics
  image_shape: tuple[int, int, int]

  @abc.abstractmethod
  def initial_state(self, seed: int) -> State:
    """Returns the train state of a run before its first step."""

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
  def faults(self) -> tuple[str, ...]:
    """Returns a description of each image that could not be decoded so far."""

  def close(self) -> None:  # noqa: B027  (only strategies with worker processes have something to end)
    """Ends the worker processes, if there are any."""


class ClassificationInput(InputStrategy):
  """The images of a classification data set, on which the layers of a network can also be measured during training."""

  @abc.abstractmethod
  def average_statistics(self, variables: Any) -> Any:
    """Returns batch statistics averaged over the training set, in batches of images without augmentation.

    The last batch is filled up with the first images.
    """

  @abc.abstractmethod
  def capture_responses(self, variables: Any) -> Any:
    """Returns the moments of each layer's responses to the images of `config.Responses`, see `responses.capture`."""

  @abc.abstractmethod
  def capture_gradients(self, variables: Any) -> Any:
    """Returns the gradient norms of each layer on the images of `config.Gradients`, see `gradients.capture`."""
