"""The training loop on the host, for one run or several in one program, from the first step or a checkpoint on.

Runs with equal `Config.shared` differ only in seeds and hyperparameters. Their train states are stacked
along a leading axis. Each has its own records and checkpoints, which are the same as if it was trained alone.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from resjax import listing, mesh, processes, records
from resjax.data import AnyDataset
from resjax.train import batched_runs, input as inputs, run_files, schedule, state, step
from resjax.train.checkpoints import Checkpoints
from resjax.train.execution import scan_options
from resjax.train.periodic_actions import PeriodicActions
from resjax.train.profiler import Profiler
from resjax.train.run_log import RunFailed, RunLog


@dataclasses.dataclass(frozen=True)
class Outcome:
  """The end of a run.

  Attributes:
    status: Status for run.json: `done`, `preempted` or `failed`.
    reason: Reason for the failure of the run; None if it did not fail.
  """

  status: str
  reason: str | None = None


def train(logs: Sequence[RunLog], dataset: AnyDataset, asked_to_stop: Callable[[], bool]) -> list[Outcome]:
  """Trains runs with equal shared settings from their newest checkpoints to their last step.

  Args:
    logs: Logs of the runs, whose newest intact checkpoints are of the same step.
    dataset: Images of the runs.
    asked_to_stop: Function that returns whether to save and stop, called after each dispatch.

  Returns:
    Outcome of each run. A run whose loss is not finite fails without affecting the others.

  Raises:
    ConfigError: A batch cannot be split over the devices.
  """
  with jax.set_mesh(mesh.make(logs[0].config)), contextlib.ExitStack() as stack:
    checkpoints = [
      stack.enter_context(Checkpoints(each.writer.directory / run_files.CHECKPOINTS, each.config)) for each in logs
    ]
    training = _Training(logs, dataset, checkpoints)
    stack.callback(training.images.close)
    stack.callback(training.profiler.close)
    return training.run(asked_to_stop)


class _Training:
  """Runs in progress: their train states on the devices of the current mesh, their logs and checkpoints."""

  def __init__(self, logs: Sequence[RunLog], dataset: AnyDataset, checkpoints: list[Checkpoints]):
    config = logs[0].config.shared
    self.logs, self.checkpoints, self.notes = logs, checkpoints, dataset.notes
    self.actions = PeriodicActions(config)
    devices = jax.sharding.get_mesh()
    scan = scan_options(config, listing.net(config), devices)
    self.images = inputs.make(config, dataset, scan, logs[0].writer.directory.parents[1] / ".moments")
    traced = logs[0].config.execution.profile if processes.is_first() else 0
    self.profiler = Profiler(logs[0].writer.directory / run_files.PROFILE, traced)
    self.failed: dict[int, str] = {}
    self.errors: dict[int, float] = {}  # validation (or else test) error of each run, measured at this step
    everywhere = mesh.replicated(devices)
    self.hyperparameters = jax.device_put(
      batched_runs.hyperparameters([each.config.scaled_train for each in logs]), everywhere
    )
    states = [self.images.initial_state(each.config.seed) for each in logs]
    states = [jax.device_put(each, mesh.state_shardings(devices, each)) for each in states]
    for each in logs:
      run_files.write_input(each.writer.directory, run_files.InputSpec(self.images.image_shape, self.images.statistics))
    self.states = batched_runs.stack([self.begin(i, initial) for i, initial in enumerate(states)])

  @property
  def classification(self) -> inputs.ClassificationInput:
    """The images as those of a classification data set; the settings of a detector exclude what needs them."""
    assert isinstance(self.images, inputs.ClassificationInput)
    return self.images

  def begin(self, run: int, initial: state.State) -> state.State:
    """Returns the state of the newest intact checkpoint, or else `initial`, and rewinds the log to its step."""
    for each in self.logs[run].refused:
      self.checkpoints[run].delete(each.step)
    saved = self.checkpoints[run].latest
    self.logs[run].begin(saved, self.notes)
    return initial if saved is None else self.checkpoints[run].restore(initial)

  def run(self, asked_to_stop: Callable[[], bool]) -> list[Outcome]:
    """Trains to the last step, or until asked to stop; returns the outcome of each run."""
    done, total = int(self.states.step[0]), self.actions.steps
    if done == 0:
      self.for_each(self.capture, 0)
    overlapping = jax.devices()[0].platform != "cpu"  # on a CPU, a dispatch returns only after its steps
    pending: tuple[int, int, step.Interval] | None = None  # interval to be logged while the devices train the next one
    stopping = False
    self.for_each(lambda run: self.logs[run].start_clock())
    while done < total and not stopping and len(self.failed) < len(self.logs):
      start, done = done, self.actions.next_stop(done)
      self.profiler.begin(start, self.states)
      self.states, interval = self.images.advance(self.states, self.hyperparameters, done, self.actions.max_interval)
      if trace := self.profiler.end(done, self.states):
        self.logs[0].writer.event(done, "profiled", trace)
      if pending:
        self.for_each(self.write, *pending)
      pending = start, done, interval
      stopping = asked_to_stop()
      pausing = stopping or self.actions.any_due(done)
      if pausing or not overlapping:
        self.for_each(self.write, *pending)
        pending = None
      if pausing:
        self.errors.clear()
        self.for_each(self.measure, done)
        if stopping or self.actions.checkpoint_due(done):
          self.for_each(self.save)
        self.for_each(lambda run: self.logs[run].start_clock())
    if done == total:
      self.for_each(self.finish)
    status = records.DONE if done == total else records.PREEMPTED
    return [
      Outcome(records.FAILED, self.failed[run]) if run in self.failed else Outcome(status)
      for run in range(len(self.logs))
    ]

  def for_each(self, action: Callable[..., None], *arguments: Any) -> None:
    """Calls `action` with the index of each run that has not failed."""
    for run in range(len(self.logs)):
      if run not in self.failed:
        try:
          action(run, *arguments)
        except RunFailed as error:
          self.failed[run] = str(error)

  def epoch(self, done: int) -> float:
    """Returns the number of passes through the training set after `done` steps."""
    return done * self.logs[0].config.train.batch_size / self.images.images

  def write(self, run: int, start: int, done: int, intervals: step.Interval) -> None:
    """Logs the training metrics of the steps from `start` to `done`."""
    self.logs[run].log_skipped_images(done, self.images.faults())
    self.logs[run].log_interval(start, done, self.epoch(done), _one(intervals, run))

  def measure(self, run: int, done: int) -> None:
    """Evaluates, and captures responses and gradient norms, if due after `done` steps."""
    if done == self.actions.steps and self.logs[run].config.evaluation.statistics == "training_set":
      self.replace(run, "batch_stats", self.classification.average_statistics(self.variables(run)))
    if self.actions.evaluation_due(done):
      for split in self.images.splits:
        start = time.monotonic()
        result = self.images.evaluate(self.variables(run), split)
        self.logs[run].log_evaluation(done, self.epoch(done), split, result, time.monotonic() - start)
        if split == self.images.splits[0]:  # "val" if images are held out for validation, else "test"
          self.errors[run] = result.error
          self.apply_plateau(run, done)
    self.logs[run].log_skipped_images(done, self.images.faults())
    self.capture(run, done)

  def apply_plateau(self, run: int, done: int) -> None:
    """Updates the plateau schedule with the error just measured, which may lower the learning rate."""
    train = self.logs[run].config.scaled_train
    if train.schedule == "plateau":
      before = _one({"plateau": self.states.plateau, "warmup": self.states.warmup}, run)
      after = schedule.update_plateau(train, **before, error=self.errors[run])
      self.replace(run, "plateau", after)
      if after.scale < before["plateau"].scale:
        self.logs[run].log_rate_drop(done, float(after.scale) * train.learning_rate)

  def capture(self, run: int, done: int) -> None:
    """Captures responses and gradient norms if they are due after `done` steps."""
    if self.actions.responses_due(done):
      self.logs[run].log_responses(done, self.classification.capture_responses(self.variables(run)))
    if self.actions.gradients_due(done):
      self.logs[run].log_gradients(done, self.classification.capture_gradients(self.variables(run)))

  def save(self, run: int) -> None:
    """Saves a checkpoint of a run."""
    self.checkpoints[run].save(_one(self.states, run), self.errors.get(run))

  def finish(self, run: int) -> None:
    """Logs the result of a run after its last step."""
    self.logs[run].log_result(mesh.gather(self.variables(run)["params"]), int(self.states.warmup.ended[run]))

  def replace(self, run: int, name: str, value: Any) -> None:
    """Replaces one field of the train state of one run."""
    whole = jax.tree.map(lambda old, new: old.at[run].set(new), getattr(self.states, name), value)
    self.states = dataclasses.replace(self.states, **{name: whole})

  def variables(self, run: int) -> dict[str, Any]:
    """Returns the parameters and batch statistics of one run."""
    return _one({"params": self.states.params, "batch_stats": self.states.batch_stats}, run)


@jax.jit
def _one(tree: Any, run: int) -> Any:
  """Returns the part of a stacked tree that belongs to a run; the index is traced, so that it is compiled once."""
  return jax.tree.map(lambda leaf: leaf[run], tree)
