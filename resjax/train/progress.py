"""Progress display of training and studies: a progress bar on a terminal, otherwise one line per update."""

import datetime
import sys
import time

from tqdm import tqdm


class Progress:
  """Context manager that shows the progress of one run or study.

  Attributes:
    done: Number of completed units.
  """

  def __init__(self, name: str, total: int, done: int, unit: str, visible: bool = True):
    """Starts the display.

    Args:
      name: Name of the run, or of the study and the network.
      total: Number of units of the whole work.
      done: Number of units that were completed before.
      unit: Singular noun for one unit, such as "step".
      visible: Whether to show anything; of several processes only the first one should.
    """
    self.done = done
    self._name, self._total, self._unit, self._visible = name, total, unit, visible
    self._first: tuple[int, float] | None = None  # units at the first update, and its time in seconds
    bar = visible and sys.stderr.isatty()
    self._bar = tqdm(total=total, initial=done, desc=name, unit=unit, dynamic_ncols=True) if bar else None

  def __enter__(self) -> "Progress":
    return self

  def __exit__(self, *_: object) -> None:
    if self._bar:
      self._bar.close()

  def show(self, count: int, text: str, summary: str | None = None) -> None:
    """Adds completed units.

    Args:
      count: Number of units completed since the last call.
      text: Text that describes them, printed in the line.
      summary: Short text for the progress bar; by default `text`.
    """
    self.done += count
    if self._bar:
      self._bar.update(count)
      self._bar.set_postfix_str(text if summary is None else summary)
    elif self._visible:
      line = f"{self._name}  {self._unit} {self.done}/{self._total}  {text}  {self._remaining_time()}"
      print(line.rstrip(), flush=True)

  def _remaining_time(self) -> str:
    """Returns the remaining time at the average speed since the first update, as "1:02:03 left", or "" if unknown."""
    now = time.monotonic()
    if self._first is None:
      self._first = self.done, now
    units, then = self._first
    if self.done in (units, self._total):
      return ""
    seconds = (self._total - self.done) * (now - then) / (self.done - units)
    return f"{datetime.timedelta(seconds=round(seconds))} left"
