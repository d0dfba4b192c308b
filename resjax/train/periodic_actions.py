"""When something other than a step happens in a run: arithmetic on its settings."""

from resjax.config import Config, Gradients, Responses


class PeriodicActions:
  """The fixed steps at which a run stops for its log, evaluations, captures and saves.

  They are the same however often a run was interrupted, and so are the programs that run between them.
  """

  def __init__(self, config: Config):
    """Reads the settings of a run."""
    self._config = config
    self.steps = config.train.steps
    self.longest = min(config.execution.log_every, self.steps)  # steps between two stops, at most

  def next_stop(self, done: int) -> int:
    """Returns the next step after `done` at which the log or anything else is due."""
    config = self._config
    probes = (config.responses, config.gradients)
    every = (config.execution.log_every, config.evaluation.every, config.checkpoint.every, *(p.every for p in probes))
    stops = [(done // n + 1) * n for n in every if n] + [n for p in probes for n in p.steps if n > done]
    return min(*stops, self.steps)

  def evaluates(self, done: int) -> bool:
    """Whether an evaluation is due after `done` steps."""
    return self._is_due(done, self._config.evaluation.every)

  def saves(self, done: int) -> bool:
    """Whether a checkpoint is."""
    return self._is_due(done, self._config.checkpoint.every)

  def captures(self, done: int) -> bool:
    """Whether a capture of responses is."""
    settings = self._config.responses
    return self._is_captured(done, settings) or (done == self.steps and settings.final)

  def captures_gradients(self, done: int) -> bool:
    """Whether a capture of gradient norms is."""
    return self._is_captured(done, self._config.gradients)

  def pauses(self, done: int) -> bool:
    """Whether there is more to do after `done` steps than to write a line of the log."""
    return self.evaluates(done) or self.saves(done) or self.captures(done) or self.captures_gradients(done)

  @staticmethod
  def _is_captured(done: int, probe: Responses | Gradients) -> bool:
    """Whether a probe's own settings name this step; `every` begins after the first."""
    return done in probe.steps or (probe.every > 0 and done > 0 and done % probe.every == 0)

  def _is_due(self, done: int, every: int) -> bool:
    """Whether what happens every so often (0: never) and after the last step does."""
    return done == self.steps or (every > 0 and done % every == 0)
