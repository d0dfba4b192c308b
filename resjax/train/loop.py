"""One run, from its first step or its newest checkpoint to its last step."""

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from resjax import listing, mesh, models, records
from resjax.config import Config
from resjax.data import Dataset
from resjax.data.augment import statistics
from resjax.models import layout
from resjax.records import RunWriter
from resjax.train import evaluate, responses, schedule, state, step
from resjax.train.checkpoints import Checkpoints
from resjax.train.progress import Progress


class RunFailed(Exception):
  """The run cannot go on; the message says at which step and why."""


def train(
  config: Config, dataset: Dataset, writer: RunWriter, progress: Progress, asked_to_stop: Callable[[], bool]
) -> bool:
  """Trains a run to its end, recording it; one that was interrupted goes on where its newest checkpoint is.

  Args:
    config: the run's.
    dataset: its images.
    writer: of its run directory, which holds the checkpoints, too.
    progress: is shown the log.
    asked_to_stop: whether to save and stop at the next occasion.

  Returns:
    Whether the run reached its end.

  Raises:
    RunFailed: the loss is not finite.
    ConfigError: a batch cannot be split over the devices.
  """
  directory = writer.directory / "checkpoints"
  with jax.set_mesh(mesh.make(config)), Checkpoints(directory, config.checkpoint.keep) as checkpoints:
    training = _Training(config, dataset, writer, progress, checkpoints)
    return training.run(asked_to_stop)


class _Training:
  """A run in progress: its state and images on the devices of the current mesh, and where its records go."""

  def __init__(
    self,
    config: Config,
    dataset: Dataset,
    writer: RunWriter,
    progress: Progress,
    checkpoints: Checkpoints,
  ):
    self.config, self.writer, self.progress, self.checkpoints = config, writer, progress, checkpoints
    self.net = models.build(
      config.model, dataset.classes, models.Loop(config.execution.unroll or 1, config.execution.remat)
    )
    self.notes = dataset.notes
    everywhere = mesh.replicated(jax.sharding.get_mesh())
    means = statistics(dataset.train_images, config.data)
    self.training_set = jax.device_put(step.TrainingData(dataset.train_images, dataset.train_labels, means), everywhere)
    splits = {"test": (dataset.test_images, dataset.test_labels)}
    if config.data.validation_images:
      splits = {"val": (dataset.validation_images, dataset.validation_labels), **splits}
    self.splits: dict[str, tuple[jax.Array, jax.Array]] = jax.device_put(splits, everywhere)
    shape = dataset.train_images.shape[1:]
    self.state = jax.device_put(
      state.initial(config.model, config.train, dataset.classes, shape, config.seed), everywhere
    )
    self.epoch_steps = len(dataset.train_labels) / config.train.batch_size
    self.clock = time.monotonic()

  def run(self, asked_to_stop: Callable[[], bool]) -> bool:
    done, total = self.begin(), self.config.train.steps
    longest = min(self.config.execution.log_every, total)
    waiting: tuple[int, int, step.Interval] | None = None  # written while the devices are at the next steps
    while done < total:
      start, done = done, self.next_stop(done)
      self.state, interval = step.train_steps(
        self.net,
        self.config.train,
        self.config.data,
        longest,
        self.state,
        self.training_set,
        jnp.int32(done),
      )
      if waiting:
        self.write_interval(*waiting)
      waiting = start, done, interval
      stopping = asked_to_stop()
      if stopping or self.pauses(done):
        self.write_interval(*waiting)
        waiting = None
        self.measure(done)
        if stopping or self.is_due(done, self.config.checkpoint.every):
          self.checkpoints.save(self.state)
        if stopping and done < total:
          return False
        self.clock = time.monotonic()
    self.finish()
    return True

  def begin(self) -> int:
    """Restores the newest checkpoint, if there is one, drops what the log says of later steps, returns the step."""
    restored = self.checkpoints.latest
    self.writer.rewind(-1 if restored is None else restored)
    if restored is not None:
      self.state = self.checkpoints.restore(self.state)
      self.writer.event(restored, "restored")
      return restored
    for note in self.notes:
      self.writer.event(0, "data", note)
    if 0 in self.config.responses.steps:
      self.capture(0)
    return 0

  def is_due(self, done: int, every: int) -> bool:
    """Whether something happens after `done` steps that happens every so often (0: never) and after the last step."""
    return done == self.config.train.steps or (every > 0 and done % every == 0)

  def captures(self, done: int) -> bool:
    settings, last = self.config.responses, done == self.config.train.steps
    return done in settings.steps or (settings.every > 0 and done % settings.every == 0) or (last and settings.final)

  def pauses(self, done: int) -> bool:
    """Whether there is more to do after `done` steps than to write a line of the log."""
    due = self.config.evaluation.every, self.config.checkpoint.every
    return any(self.is_due(done, every) for every in due) or self.captures(done)

  def next_stop(self, done: int) -> int:
    """Returns the next step after which the log, an evaluation, a capture or a save is due.

    These are the same steps however often a run was interrupted, and so are the programs that run between them.
    """
    every = (
      self.config.execution.log_every,
      self.config.evaluation.every,
      self.config.checkpoint.every,
      self.config.responses.every,
    )
    stops = [(done // n + 1) * n for n in every if n] + [n for n in self.config.responses.steps if n > done]
    return min(*stops, self.config.train.steps)

  def write_interval(self, start: int, done: int, interval: step.Interval) -> None:
    """Writes the train line of the steps from `start` to `done`."""
    result: step.Interval = jax.device_get(interval)
    if result.bad >= 0:
      raise RunFailed(f"the loss is not finite at step {result.bad}")
    now = time.monotonic()
    images, seconds = (done - start) * self.config.train.batch_size, now - self.clock
    self.clock = now
    self.write_metrics(
      done,
      "train",
      loss=float(result.loss) / (done - start),
      error=float(result.wrong) / (done - start),
      learning_rate=float(result.rate),
      images=images,
      seconds=seconds,
    )
    if start < result.warmup_ended <= done:
      self.writer.event(int(result.warmup_ended), "warm-up ended")

  def write_metrics(self, done: int, split: str, images: int, seconds: float, **values: float | None) -> None:
    row = {
      "step": done,
      "epoch": done / self.epoch_steps,
      "split": split,
      **values,
      "images": images,
      "seconds": seconds,
      "images_per_second": images / seconds,
    }
    self.writer.append("metrics", [row])
    self.progress.show(row)

  def measure(self, done: int) -> None:
    """Evaluates and captures what is due after `done` steps."""
    last = done == self.config.train.steps
    if last and self.config.evaluation.statistics == "training_set":
      averaged = evaluate.training_set_statistics(
        self.net,
        self.config.train.batch_size,
        self.variables,
        self.training_set.images,
        self.training_set.statistics,
      )
      self.state = dataclasses.replace(self.state, batch_stats=averaged)
    if self.is_due(done, self.config.evaluation.every):
      for split, (images, labels) in self.splits.items():
        self.evaluate(done, split, images, labels)
    if self.captures(done):
      self.capture(done)

  @property
  def variables(self) -> dict:
    """What the net is applied with."""
    return {"params": self.state.params, "batch_stats": self.state.batch_stats}

  def evaluate(self, done: int, split: str, images: jax.Array, labels: jax.Array) -> None:
    start = time.monotonic()
    size, count = self.config.evaluation.batch_size, len(labels)
    results = evaluate.evaluate(self.net, size, self.variables, images, labels, self.training_set.statistics)
    loss, wrong = jax.device_get(results)
    seconds = time.monotonic() - start
    self.write_metrics(done, split, images=count, seconds=seconds, loss=float(loss) / count, error=int(wrong) / count)

  def capture(self, done: int) -> None:
    settings = self.config.responses
    images = self.training_set.images if settings.source == "train" else self.splits["test"][0]
    moments = responses.capture(self.net, settings, self.variables, images, self.training_set.statistics)
    self.writer.append("responses", responses.lines(settings, done, listing.net(self.config).table, moments))

  def finish(self) -> None:
    """Writes the result, which is that of the last step; the best is labelled best."""
    log = records.read_run(self.writer.directory)
    never = "warm-up never ended"
    warms_up = schedule.uses_warmup(self.config.model, self.config.train)
    if warms_up and int(self.state.warmup.ended) < 0 and never not in [event["name"] for event in log.run["events"]]:
      self.writer.event(self.config.train.steps, never, "the whole run was at train.warmup_rate")
    tests = [row for row in log.metrics if row["split"] == "test"]
    best = min(tests, key=lambda row: row["error"])
    self.writer.update(
      result={
        "train_error": [row["error"] for row in log.metrics if row["split"] == "train"][-1],
        "test_error": tests[-1]["error"],
        "best_test_error": best["error"],
        "best_step": best["step"],
        "test_images": tests[-1]["images"],
      },
      params_digest=layout.digest(self.state.params),
    )
