"""What a person sees of a study: a bar on a terminal, one plain line a piece in a batch log."""

import datetime
import sys
import time

from tqdm import tqdm


class StudyProgress:
  """The progress of a study of one net; a context manager."""

  def __init__(self, name: str, total: int, known: int, unit: str):
    """Shows what is known from before.

    Args:
      name: of the study and the net.
      total: pieces of the whole study.
      known: of them in the records already.
      unit: what a piece is called.
    """
    self._name, self._total, self._done, self._unit = name, total, known, unit
    self._began, self._known = time.monotonic(), known
    self._bar = (
      tqdm(total=total, initial=known, desc=name, unit=unit, dynamic_ncols=True) if sys.stderr.isatty() else None
    )

  def __enter__(self) -> "StudyProgress":
    return self

  def __exit__(self, *_: object) -> None:
    if self._bar:
      self._bar.close()

  def show(self, pieces: int, said: str) -> None:
    """Counts pieces that are in the records now, and says something of the last of them."""
    self._done += pieces
    if self._bar:
      self._bar.update(pieces)
      self._bar.set_postfix_str(said)
      return
    seconds = (self._total - self._done) * (time.monotonic() - self._began) / (self._done - self._known)
    left = f"  {datetime.timedelta(seconds=round(seconds))} left" if self._done < self._total else ""
    print(f"{self._name}  {self._done}/{self._total} {self._unit}s  {said}{left}", flush=True)
