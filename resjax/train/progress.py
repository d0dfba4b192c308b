"""What a person sees of a run: a bar on a terminal, one plain line an interval in a batch log."""

import datetime
import sys
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm


class Progress:
  """The progress of one run; a context manager."""

  def __init__(self, name: str, steps: int, visible: bool = True):
    """Shows nothing yet.

    Args:
      name: of the run.
      steps: at its end.
      visible: whether it is shown; of several processes one does.
    """
    self._name, self._steps, self._visible = name, steps, visible
    self._errors: dict[str, str] = {}
    self._began: tuple[int, float] | None = None  # the first step shown, and when
    self._bar = (
      tqdm(total=steps, desc=name, unit="step", dynamic_ncols=True) if visible and sys.stderr.isatty() else None
    )

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *_: object) -> None:
    if self._bar:
      self._bar.close()

  def show(self, row: Mapping[str, Any]) -> None:
    """Shows a line of metrics.jsonl."""
    self._errors[row["split"]] = f"{100 * row['error']:.2f}%"
    if self._bar:
      self._bar.update(row["step"] - self._bar.n)
      self._bar.set_postfix(self._errors)
    elif self._visible:
      line = (
        f"{self._name}  step {row['step']}/{self._steps}  {row['split']} loss {row['loss']:.4f} "
        f"error {self._errors[row['split']]}  {row['images_per_second']:.0f} images/s  {self._left(row)}"
      )
      print(line.rstrip(), flush=True)

  def _left(self, row: Mapping[str, Any]) -> str:
    """Returns the time left at the pace since this process began, as "1:02:03 left"."""
    if self._began is None:
      self._began = row["step"], time.monotonic()
    step, then = self._began
    if row["step"] == step:
      return ""
    seconds = (self._steps - row["step"]) * (time.monotonic() - then) / (row["step"] - step)
    return f"{datetime.timedelta(seconds=round(seconds))} left"
