"""Progress of a study: a bar on a terminal, one line per update elsewhere, such as in a batch log."""

import datetime
import sys
import time

from tqdm import tqdm


class StudyProgress:
  """Context manager that shows the progress of a study of one network."""

  def __init__(self, name: str, total: int, known: int, unit: str):
    """Starts the display at the number of results that are recorded already.

    Args:
      name: Name of the study and of the network.
      total: Number of results of the whole study.
      known: Number of results that are in the records already.
      unit: Singular noun for one result.
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
    """Adds `pieces` newly recorded results and shows the text `said` about the last of them."""
    self._done += pieces
    if self._bar:
      self._bar.update(pieces)
      self._bar.set_postfix_str(said)
      return
    seconds = (self._total - self._done) * (time.monotonic() - self._began) / (self._done - self._known)
    left = f"  {datetime.timedelta(seconds=round(seconds))} left" if self._done < self._total else ""
    print(f"{self._name}  {self._done}/{self._total} {self._unit}s  {said}{left}", flush=True)
