"""The host's part of training: one run, or several in one program, from first step or checkpoint to last step.

Runs with the same `batched_runs.shared_config` differ in seeds and hyperparameters only. Their states are stacked along
a leading axis, and each has its own records and checkpoints, so that nothing shows how they were run.
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
  """How a run ended.

  Attributes:
    status: `done`, `preempted` or `failed`, as in run.json.
    reason: Why the run failed; None if it did not.
  """

  status: str
  reason: str | None = None


def train(logs: Sequence[RunLog], dataset: AnyDataset, asked_to_stop: Callable[[], bool]) -> list[Outcome]:
  """Trains runs with equal shared settings to their last step, from their newest checkpoints on.

  Args:
    logs: Logs of the runs, whose newest checkpoints are of the same step.
    dataset: Images of the runs.
    asked_to_stop: Whether to save and stop; asked after each dispatch.

  Returns:
    The outcome of each run. A run whose loss is not finite fails alone.

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
  """Runs in progress: their train states on the devices of the current mesh, their logs and their checkpoints."""

  def __init__(self, logs: Sequence[RunLog], dataset: AnyDataset, checkpoints: list[Checkpoints]):
    config = batched_runs.shared_config(logs[0].config)
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

  def begin(self, run: int, initial: state.State) -> state.State:
    """Returns the state of the newest intact checkpoint, or else `initial`, and rewinds the log to its step."""
    for each in self.logs[run].refused:
      self.checkpoints[run].delete(each.step)
    saved = self.checkpoints[run].latest
    self.logs[run].begin(saved, self.notes)
    return initial if saved is None else self.checkpoints[run].restore(initial)

  def run(self, asked_to_stop: Callable[[], bool]) -> list[Outcome]:
    done, total = int(self.states.step[0]), self.actions.steps
    if done == 0:
      self.for_each(self.capture, 0)
    overlapping = jax.devices()[0].platform != "cpu"  # on a CPU a dispatch returns only when its steps are done
    waiting: tuple[int, int, step.Interval] | None = None  # to be written while the devices train on
    stopping = False
    self.for_each(lambda run: self.logs[run].start_clock())
    while done < total and not stopping and len(self.failed) < len(self.logs):
      start, done = done, self.actions.next_stop(done)
      self.profiler.begin(start, self.states)
      self.states, interval = self.images.advance(self.states, self.hyperparameters, done, self.actions.max_interval)
      if trace := self.profiler.end(done, self.states):
        self.logs[0].writer.event(done, "profiled", trace)
      if waiting:
        self.for_each(self.write, *waiting)
      waiting = start, done, interval
      stopping = asked_to_stop()
      pausing = stopping or self.actions.any_due(done)
      if pausing or not overlapping:
        self.for_each(self.write, *waiting)
        waiting = None
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
    return done * self.logs[0].config.train.batch_size / self.images.images

  def write(self, run: int, start: int, done: int, intervals: step.Interval) -> None:
    self.logs[run].log_skipped_images(done, self.images.faults())
    self.logs[run].log_interval(start, done, self.epoch(done), _one(intervals, run))

  def measure(self, run: int, done: int) -> None:
    """Evaluates, and captures responses and gradient norms, if due after `done` steps."""
    if done == self.actions.steps and self.logs[run].config.evaluation.statistics == "training_set":
      self.replace(run, "batch_stats", self.images.average_statistics(self.variables(run)))
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
      self.logs[run].log_responses(done, self.images.capture_responses(self.variables(run)))
    if self.actions.gradients_due(done):
      self.logs[run].log_gradients(done, self.images.capture_gradients(self.variables(run)))

  def save(self, run: int) -> None:
    self.checkpoints[run].save(_one(self.states, run), self.errors.get(run))

  def finish(self, run: int) -> None:
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
  """Returns the part of a stacked tree that belongs to one run, traced so that many runs compile once."""
  return jax.tree.map(lambda leaf: leaf[run], tree)
