"""The steps at which a run logs, evaluates, captures responses or gradients, and saves, computed from its settings."""

from resjax.config import Config, Gradients, Responses


class PeriodicActions:
  """The fixed steps at which a run stops to log, evaluate, capture or save.

  They do not depend on interruptions of the run, so an interrupted run executes the same programs.

  Attributes:
    steps: Number of steps of the run.
    max_interval: Largest number of steps between two stops.
  """

  def __init__(self, config: Config):
    """Reads the intervals from the settings of a run."""
    self._config = config
    self.steps = config.train.steps
    self.max_interval = min(config.execution.log_every, self.steps)

  def next_stop(self, step: int) -> int:
    """Returns the first step after `step` at which the log or any other action is due."""
    config = self._config
    captures = (config.responses, config.gradients)
    every = (config.execution.log_every, config.evaluation.every, config.checkpoint.every, *(c.every for c in captures))
    stops = [(step // n + 1) * n for n in every if n] + [n for c in captures for n in c.steps if n > step]
    return min(*stops, self.steps)

  def evaluation_due(self, step: int) -> bool:
    """Whether the network is evaluated after `step` steps."""
    return self._is_due(step, self._config.evaluation.every)

  def checkpoint_due(self, step: int) -> bool:
    """Whether a checkpoint is saved after `step` steps."""
    return self._is_due(step, self._config.checkpoint.every)

  def responses_due(self, step: int) -> bool:
    """Whether responses are captured after `step` steps."""
    settings = self._config.responses
    return self._is_captured(step, settings) or (step == self.steps and settings.final)

  def gradients_due(self, step: int) -> bool:
    """Whether gradient norms are captured after `step` steps."""
    return self._is_captured(step, self._config.gradients)

  def any_due(self, step: int) -> bool:
    """Whether any action other than logging is due after `step` steps."""
    return (
      self.evaluation_due(step) or self.checkpoint_due(step) or self.responses_due(step) or self.gradients_due(step)
    )

  @staticmethod
  def _is_captured(step: int, capture: Responses | Gradients) -> bool:
    """Whether the settings of a capture name this step; step 0 counts only if `steps` lists it."""
    return step in capture.steps or (capture.every > 0 and step > 0 and step % capture.every == 0)

  def _is_due(self, step: int, every: int) -> bool:
    """Whether an action with this interval (0: never) is due; all are due after the last step."""
    return step == self.steps or (every > 0 and step % every == 0)
