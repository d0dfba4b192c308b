"""What a run writes as it goes on: lines of its logs, events, its result."""

import sys
import time
from typing import Any

import jax

from resjax import listing, records
from resjax.config import Config
from resjax.models import layout
from resjax.records import RunWriter
from resjax.train import gradients, responses, schedule
from resjax.train.checkpoints import Refusal
from resjax.train.progress import Progress
from resjax.train.step import Interval


class RunFailed(Exception):
  """The run cannot go on; the message says at which step and why."""


class RunLog:
  """The records of one run in progress."""

  def __init__(self, config: Config, writer: RunWriter, progress: Progress, refused: list[Refusal]):
    """Writes nothing yet.

    Args:
      config: the run's.
      writer: of its run directory.
      progress: is shown the log.
      refused: checkpoints that are damaged.
    """
    self.config, self.writer, self.refused, self._progress = config, writer, refused, progress
    self._clock = time.monotonic()

  def start_clock(self) -> None:
    """The time from here on counts for the next interval."""
    self._clock = time.monotonic()

  def begin(self, restored: int | None, notes: tuple[str, ...]) -> None:
    """Drops what the log says of steps after the restored one; says that it was restored, or what the data lack."""
    self.writer.rewind(-1 if restored is None else restored)
    for each in self.refused:
      self.writer.event(restored or 0, "checkpoint refused", f"step {each.step}: {each.why}")
    if restored is not None:
      self.writer.event(restored, "restored")
      return
    for note in notes:
      self.writer.event(0, "data", note)

  def skipped(self, done: int, faults: tuple[str, ...]) -> None:
    """Names the broken images that were met; each once a run, however often it was met or the run continued."""
    known = [event["detail"] for event in self.writer.run["events"] if event["name"] == "image skipped"]
    for fault in faults:
      if fault not in known:
        self.writer.event(done, "image skipped", fault)

  def interval(self, start: int, done: int, epoch: float, interval: Interval) -> None:
    """Writes the train line of the steps from `start` to `done`.

    Args:
      start, done: steps.
      epoch: passes through the training set after `done` steps.
      interval: what happened in them.

    Raises:
      RunFailed: a loss was not finite.
    """
    result: Interval = jax.device_get(interval)
    if result.bad >= 0:
      raise RunFailed(f"the loss is not finite at step {result.bad}")
    steps, now = done - start, time.monotonic()
    self._metrics(
      done,
      epoch,
      "train",
      loss=float(result.loss) / steps,
      error=float(result.wrong) / steps,
      learning_rate=float(result.rate),
      images=steps * self.config.train.batch_size,
      seconds=now - self._clock,
    )
    self._clock = now
    if start < result.warmup_ended <= done:
      self.writer.event(int(result.warmup_ended), "warm-up ended")

  def evaluation(
    self, done: int, epoch: float, split: str, images: int, seconds: float, loss: float, wrong: int
  ) -> None:
    """Writes the line of an evaluation; `loss` is the sum over the images."""
    self._metrics(done, epoch, split, images=images, seconds=seconds, loss=loss / images, error=wrong / images)

  def dropped(self, done: int, rate: float) -> None:
    """Says that the rate drops because the validation error has stopped falling."""
    self.writer.event(done, "rate dropped", f"to {rate:.3g}: no new best error in {self.config.train.plateau_patience}")

  def responses(self, done: int, moments: Any) -> None:
    """Writes the lines of a capture."""
    table = listing.net(self.config).table
    self.writer.append("responses", responses.lines(self.config.responses, done, table, moments))

  def gradients(self, done: int, norms: Any) -> None:
    """Writes the lines of a capture of gradient norms."""
    self.writer.append("gradients", gradients.lines(done, listing.net(self.config).table, norms))

  def result(self, params: Any, warmup_ended: int) -> None:
    """Writes the result, which is that of the last step; the best is labelled best."""
    digest = layout.digest(params)
    if not self.writer.active:
      return  # what the first process has logged is not for the others to read
    log = records.read_run(self.writer.directory)
    never = "warm-up never ended"
    warms_up = schedule.uses_warmup(self.config.model, self.config.train)
    if warms_up and warmup_ended < 0 and never not in [event["name"] for event in log.run["events"]]:
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
      params_digest=digest,
    )

  def end(self, status: str, reason: str | None) -> None:
    """Writes how the run ended."""
    if self.writer.active:
      if reason:
        print(f"{self.writer.run['id']} failed: {reason}", file=sys.stderr)
      steps = [row["step"] for row in records.read_run(self.writer.directory).metrics]
      self.writer.update(status=status, reason=reason, step=max(steps, default=0), ended=records.utc_now())

  def _metrics(self, done: int, epoch: float, split: str, images: int, seconds: float, **values: float) -> None:
    row = {
      "step": done,
      "epoch": epoch,
      "split": split,
      **values,
      "images": images,
      "seconds": seconds,
      "images_per_second": images / seconds,
    }
    self.writer.append("metrics", [row])
    self._progress.show(row)
