"""The records that a run in progress writes: metrics, responses, gradients, events and the result."""

import math
import statistics
import sys
import time
from typing import Any

import jax

from resjax import listing, records
from resjax.config import Config, uses_warmup
from resjax.models import layout
from resjax.records import RunWriter
from resjax.train import gradients, responses
from resjax.train.chance import stays_at_chance
from resjax.train.checkpoints import Refusal
from resjax.train.input import SplitResult
from resjax.train.progress import Progress
from resjax.train.step import Interval

RANDOM_BACKBONE = "random backbone"  # event of a detector with frozen batch norm that is trained from random weights


class RunFailed(Exception):
  """The run cannot continue; the message names the step and the reason."""


class RunLog:
  """Writes the records of one run in progress and shows its metrics.

  Attributes:
    config: Settings of the run.
    writer: Writer of the run directory.
    refused: Damaged checkpoints that the run does not continue from.
  """

  def __init__(self, config: Config, writer: RunWriter, progress: Progress, refused: list[Refusal]):
    """Prepares the records, to which nothing is written yet.

    Args:
      config: Settings of the run.
      writer: Writer of the run directory.
      progress: Progress display of the run.
      refused: Damaged checkpoints that the run does not continue from.
    """
    self.config, self.writer, self.refused, self._progress = config, writer, refused, progress
    self._clock = time.monotonic()
    self._errors: dict[str, str] = {}  # last error of each split

  def start_clock(self) -> None:
    """Starts the time measurement of the next interval."""
    self._clock = time.monotonic()

  def begin(self, restored: int | None, notes: tuple[str, ...]) -> None:
    """Prepares the log for the first step of this process.

    Args:
      restored: Step of the checkpoint that the run continues from; later lines are dropped. None: a new run.
      notes: Remarks on the data set, recorded as events of a new run.
    """
    self.writer.rewind(-1 if restored is None else restored)
    for each in self.refused:
      self.writer.event(restored or 0, "checkpoint refused", f"step {each.step}: {each.why}")
    if restored is not None:
      self.writer.event(restored, "restored")
      return
    for note in notes:
      self.writer.event(0, "data", note)
    config = self.config
    if config.data.has_boxes and not config.detection.backbone and config.model.norm == "batch":
      detail = (
        "random weights with frozen batch norm: nothing is normalized; detection.backbone names a trained network"
      )
      self.writer.event(0, RANDOM_BACKBONE, detail)
      if self.writer.active:
        print(f"{self.writer.run['id']}: {detail}", file=sys.stderr)

  def log_skipped_images(self, step: int, faults: tuple[str, ...]) -> None:
    """Records each unreadable image as an event, once per run even if the run is continued."""
    known = [event["detail"] for event in self.writer.run["events"] if event["name"] == "image skipped"]
    for fault in faults:
      if fault not in known:
        self.writer.event(step, "image skipped", fault)

  def log_interval(self, start: int, stop: int, epoch: float, interval: Interval) -> None:
    """Writes the training metrics of the steps from `start` to `stop`.

    Args:
      start: Steps done before the interval.
      stop: Steps done after it.
      epoch: Passes through the training set after `stop` steps.
      interval: Metrics of the interval.

    Raises:
      RunFailed: A loss was not finite.
    """
    result: Interval = jax.device_get(interval)
    if result.bad >= 0:
      raise RunFailed(f"{records.DIVERGED} {result.bad}")
    steps, now = stop - start, time.monotonic()
    self._metrics(
      stop,
      epoch,
      "train",
      loss=float(result.loss) / steps,
      error=float(result.wrong) / steps,
      learning_rate=float(result.rate),
      images=steps * self.config.train.batch_size,
      seconds=now - self._clock,
    )
    self._clock = now
    if start < result.warmup_ended <= stop:
      self.writer.event(int(result.warmup_ended), "warm-up ended")

  def log_evaluation(self, step: int, epoch: float, split: str, result: SplitResult, seconds: float) -> None:
    """Writes the metrics of an evaluation that took `seconds`."""
    self._metrics(step, epoch, split, images=result.images, seconds=seconds, loss=result.loss, error=result.error)
    last = step == self.config.train.steps
    for log, lines in {**result.logs, **(result.final_logs if last else {})}.items():
      self.writer.append(log, [{"step": step, "split": split, **line} for line in lines])

  def log_rate_drop(self, step: int, rate: float) -> None:
    """Records that the learning rate drops to `rate` because the validation error has stopped falling."""
    patience = self.config.train.plateau_patience
    detail = f"to {rate:.3g}: no new best error in {patience} evaluation{'s' if patience > 1 else ''}"
    self.writer.event(step, "rate dropped", detail)

  def log_responses(self, step: int, moments: Any) -> None:
    """Writes the responses of each layer, given the moments returned by `responses.capture`."""
    table = listing.net(self.config).table
    self.writer.append("responses", responses.lines(self.config.responses, step, table, moments))

  def log_gradients(self, step: int, norms: Any) -> None:
    """Writes the gradient norm of each layer, given the norms returned by `gradients.capture`."""
    self.writer.append("gradients", gradients.lines(step, listing.net(self.config).table, norms))

  def log_result(self, params: Any, warmup_ended: int) -> None:
    """Writes the result of the run: the errors after the last step, and the lowest test error as `best_test_error`.

    Args:
      params: Parameters after the last step.
      warmup_ended: Step after which the warm-up ended, or -1.
    """
    digest = layout.digest(params)
    if not self.writer.active:
      return  # only the first process writes the log, and so only it may read the log back
    log = records.read_run(self.writer.directory)
    never = "warm-up never ended"
    warms_up = uses_warmup(self.config.model, self.config.train)
    if warms_up and warmup_ended < 0 and never not in [event["name"] for event in log.run["events"]]:
      self.writer.event(self.config.train.steps, never, "the whole run was trained with train.warmup_rate")
    self._log_chance(log)
    tests = [row for row in log.metrics if row["split"] == "test"]
    best = min(tests, key=lambda row: row["error"])
    precisions = [row for row in log.average_precision if (row["step"], row["split"]) == (tests[-1]["step"], "test")]
    of_detector = {"map50": 1 - tests[-1]["error"], "map": _mean(precisions, "coco_ap")} if precisions else {}
    self.writer.update(
      result={
        "train_error": [row["error"] for row in log.metrics if row["split"] == "train"][-1],
        "test_error": tests[-1]["error"],
        "best_test_error": best["error"],
        "best_step": best["step"],
        "test_images": tests[-1]["images"],
        "training_macs": self._training_macs(),
        **of_detector,
      },
      params_digest=digest,
    )

  def _log_chance(self, log: records.Run) -> None:
    """Records an event if no training or test error of the run was significantly below that of guessing."""
    known = [event["name"] for event in log.run["events"]]
    if self.config.data.has_boxes or records.AT_CHANCE in known:
      return
    classes = listing.net(self.config).classes
    measured = [(row["error"], row["images"]) for row in log.metrics if row["error"] is not None]
    if stays_at_chance(measured, classes):
      lowest = min(error for error, _ in measured)
      detail = (
        f"lowest error {100 * lowest:.2f} %; error of guessing among {classes} classes {100 - 100 / classes:.2f} %"
      )
      self.writer.event(self.config.train.steps, records.AT_CHANCE, detail)

  def _training_macs(self) -> int | None:
    """Returns the multiply-adds of the training steps; None for a detector, whose frozen layers have no gradients."""
    if self.config.data.has_boxes:
      return None
    return listing.net(self.config).training_macs(self.config.train.steps * self.config.train.batch_size)

  def finish(self, status: str, reason: str | None) -> None:
    """Writes the status of the ended run and, if it failed, the reason."""
    if self.writer.active:
      if reason:
        print(f"{self.writer.run['id']} failed: {reason}", file=sys.stderr)
      steps = [row["step"] for row in records.read_run(self.writer.directory).metrics]
      self.writer.update(status=status, reason=reason, step=max(steps, default=0), ended=records.utc_now())

  def _metrics(self, step: int, epoch: float, split: str, images: int, seconds: float, **values: float) -> None:
    row = {
      "step": step,
      "epoch": epoch,
      "split": split,
      **values,
      "images": images,
      "seconds": seconds,
      "images_per_second": images / seconds,
    }
    self.writer.append("metrics", [row])
    self._errors[split] = f"{100 * values['error']:.2f}%"
    loss = f"loss {values['loss']:.4f} " if math.isfinite(values["loss"]) else ""  # evaluations of detectors have none
    text = f"{split} {loss}error {self._errors[split]}  {images / seconds:.0f} images/s"
    summary = ", ".join(f"{name}={error}" for name, error in self._errors.items())
    self._progress.show(step - self._progress.done, text, summary)


def _mean(rows: list[dict[str, Any]], key: str) -> float:
  """Returns the mean of a value over the rows that have it."""
  return statistics.mean(row[key] for row in rows if row[key] is not None)
