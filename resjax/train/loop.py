"""Runs from their first step or their newest checkpoint to their last step: one, or several as one program.

Runs of equal shape (`together.shape`) differ in numbers only: in their seeds, rates and decays. Their states are
stacked along a leading axis, and each has its own records and checkpoints, so that nothing shows how they were run.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from resjax import mesh, models, records
from resjax.config import Config
from resjax.data import Dataset, FileDataset
from resjax.train import schedule, state, step, together, trained
from resjax.train.checkpoints import Checkpoints
from resjax.train.execution_form import block_loop
from resjax.train.journal import Journal, RunFailed
from resjax.train.resident import Resident
from resjax.train.timetable import Timetable

if TYPE_CHECKING:
  from resjax.train.streamed import Streamed


@dataclasses.dataclass(frozen=True)
class Outcome:
  """How a run ended.

  Attributes:
    status: `done`, `preempted` or `failed`, as in run.json.
    reason: why it failed.
  """

  status: str
  reason: str | None = None


def train(
  journals: Sequence[Journal], dataset: Dataset | FileDataset, asked_to_stop: Callable[[], bool]
) -> list[Outcome]:
  """Trains runs of equal shape to their end, recording them; interrupted ones go on where their newest checkpoint is.

  Args:
    journals: of the runs, whose newest checkpoints are of one step.
    dataset: their images.
    asked_to_stop: whether to save and stop at the next occasion.

  Returns:
    How each run ended. One whose loss is not finite fails alone.

  Raises:
    ConfigError: a batch cannot be split over the devices.
  """
  with jax.set_mesh(mesh.make(journals[0].config)), contextlib.ExitStack() as stack:
    checkpoints = [
      stack.enter_context(Checkpoints(each.writer.directory / trained.CHECKPOINTS, each.config)) for each in journals
    ]
    training = _Training(journals, dataset, checkpoints)
    stack.callback(training.images.close)
    return training.run(asked_to_stop)


class _Training:
  """Runs in progress: their states, on the devices of the current mesh, and where their records go."""

  def __init__(self, journals: Sequence[Journal], dataset: Dataset | FileDataset, checkpoints: list[Checkpoints]):
    config = together.shape(journals[0].config)
    self.journals, self.checkpoints, self.notes = journals, checkpoints, dataset.notes
    self.timetable = Timetable(config)
    layers, devices = config.model.net(dataset.image_shape, dataset.classes), jax.sharding.get_mesh()
    net = models.build(config.model, dataset.classes, block_loop(config, layers, devices))
    store = journals[0].writer.directory.parents[1] / ".moments"
    self.images = _images(config, dataset, net, store)
    self.failed: dict[int, str] = {}
    self.errors: dict[int, float] = {}  # measured at this step, by run: of the validation images, or of the test's
    everywhere = mesh.replicated(devices)
    shape = dataset.image_shape
    self.numbers = jax.device_put(together.numbers([each.config.train for each in journals]), everywhere)
    states = [state.initial(config.model, config.train, dataset.classes, shape, each.config.seed) for each in journals]
    states = [jax.device_put(each, mesh.state_shardings(devices, each)) for each in states]
    for each in journals:
      trained.write_input(each.writer.directory, trained.Input(shape, self.images.statistics))
    self.states = together.stack([self.begin(i, initial) for i, initial in enumerate(states)])

  def begin(self, run: int, initial: state.State) -> state.State:
    """Returns the state of the newest sound checkpoint, if there is one, and brings the log to its step."""
    for each in self.journals[run].refused:
      self.checkpoints[run].delete(each.step)
    saved = self.checkpoints[run].latest
    self.journals[run].begin(saved, self.notes)
    return initial if saved is None else self.checkpoints[run].restore(initial)

  def run(self, asked_to_stop: Callable[[], bool]) -> list[Outcome]:
    done, total = int(self.states.step[0]), self.timetable.steps
    if done == 0:
      self.for_each(self.capture, 0)
    overlapping = jax.devices()[0].platform != "cpu"  # where a dispatch returns when its steps are done
    waiting: tuple[int, int, step.Interval] | None = None  # written while the devices are at the next steps
    stopping = False
    self.for_each(lambda run: self.journals[run].start_clock())
    while done < total and not stopping and len(self.failed) < len(self.journals):
      start, done = done, self.timetable.next_stop(done)
      self.states, interval = self.images.advance(self.states, self.numbers, done, self.timetable.longest)
      if waiting:
        self.for_each(self.write, *waiting)
      waiting = start, done, interval
      stopping = asked_to_stop()
      pausing = stopping or self.timetable.pauses(done)
      if pausing or not overlapping:
        self.for_each(self.write, *waiting)
        waiting = None
      if pausing:
        self.errors.clear()
        self.for_each(self.measure, done)
        if stopping or self.timetable.saves(done):
          self.for_each(self.save)
        self.for_each(lambda run: self.journals[run].start_clock())
    if done == total:
      self.for_each(self.finish)
    status = records.DONE if done == total else records.PREEMPTED
    return [
      Outcome(records.FAILED, self.failed[run]) if run in self.failed else Outcome(status)
      for run in range(len(self.journals))
    ]

  def for_each(self, action: Callable[..., None], *arguments: Any) -> None:
    """Does something for each run that has not failed."""
    for run in range(len(self.journals)):
      if run not in self.failed:
        try:
          action(run, *arguments)
        except RunFailed as error:
          self.failed[run] = str(error)

  def epoch(self, done: int) -> float:
    return done * self.journals[0].config.train.batch_size / self.images.images

  def write(self, run: int, start: int, done: int, intervals: step.Interval) -> None:
    self.journals[run].skipped(done, self.images.faults())
    self.journals[run].interval(start, done, self.epoch(done), _one(intervals, run))

  def measure(self, run: int, done: int) -> None:
    """Evaluates and captures what is due after `done` steps."""
    if done == self.timetable.steps and self.journals[run].config.evaluation.statistics == "training_set":
      self.replace(run, "batch_stats", self.images.average_statistics(self.variables(run)))
    if self.timetable.evaluates(done):
      for split in self.images.splits:
        start = time.monotonic()
        images, loss, wrong = self.images.evaluate(self.variables(run), split)
        seconds = time.monotonic() - start
        self.journals[run].evaluation(done, self.epoch(done), split, images, seconds, loss, wrong)
        if split == self.images.splits[0]:  # "val" where images are held out, else "test"
          self.errors[run] = wrong / images
          self.judge(run, done, wrong / images)
    self.capture(run, done)

  def judge(self, run: int, done: int, error: float) -> None:
    """Lets the rate drop where `train.schedule=plateau` says so."""
    train = self.journals[run].config.train
    if train.schedule == "plateau":
      before = _one({"plateau": self.states.plateau, "warmup": self.states.warmup}, run)
      after = schedule.judge(train, **before, error=error)
      self.replace(run, "plateau", after)
      if after.scale < before["plateau"].scale:
        self.journals[run].dropped(done, float(after.scale) * train.learning_rate)

  def capture(self, run: int, done: int) -> None:
    """Lets the probes see the net where they are due after `done` steps."""
    if self.timetable.captures(done):
      self.journals[run].responses(done, self.images.capture(self.variables(run)))
    if self.timetable.captures_gradients(done):
      self.journals[run].gradients(done, self.images.capture_gradients(self.variables(run)))

  def save(self, run: int) -> None:
    self.checkpoints[run].save(_one(self.states, run), self.errors.get(run))

  def finish(self, run: int) -> None:
    self.journals[run].result(mesh.whole(self.variables(run)["params"]), int(self.states.warmup.ended[run]))

  def replace(self, run: int, name: str, value: Any) -> None:
    """Changes a part of the state of one run."""
    whole = jax.tree.map(lambda old, new: old.at[run].set(new), getattr(self.states, name), value)
    self.states = dataclasses.replace(self.states, **{name: whole})

  def variables(self, run: int) -> dict[str, Any]:
    """What a run's net is applied with."""
    return _one({"params": self.states.params, "batch_stats": self.states.batch_stats}, run)


def _images(config: Config, dataset: Dataset | FileDataset, net: Any, store: Path) -> "Resident | Streamed":
  """Returns the images where they are trained on: held on the devices, or decoded as they are needed."""
  if isinstance(dataset, Dataset):
    return Resident(config, dataset, net)
  from resjax.train.streamed import Streamed  # needs the extra imagenet

  return Streamed(config, dataset, net, store)


@functools.partial(jax.jit, static_argnames="run")
def _one(tree: Any, run: int) -> Any:
  """Returns what belongs to one run."""
  return jax.tree.map(lambda leaf: leaf[run], tree)
