"""Traces of training steps by JAX's profiler."""

from pathlib import Path
from typing import Any

import jax


class Profiler:
  """Traces intervals of training, starting with the second of this process, because the first one includes compilation.

  The trace also contains the work between these intervals, such as evaluations.
  """

  def __init__(self, directory: Path, intervals: int):
    """Prepares a trace, which `begin` starts.

    Args:
      directory: Directory of the trace, in the layout of TensorBoard's profiler.
      intervals: Number of intervals to trace; 0: none.
    """
    self._directory, self._left = directory, intervals
    self._warm = False
    self._first: int | None = None  # step after which the trace started

  def begin(self, step: int, states: Any) -> None:
    """Starts the trace before the second interval of this process.

    Args:
      step: Number of steps before the interval.
      states: Train states before the interval, which are waited for.
    """
    if self._left and self._warm and self._first is None:
      jax.block_until_ready(states)
      jax.profiler.start_trace(self._directory)
      self._first = step
    self._warm = True

  def end(self, step: int, states: Any) -> str | None:
    """Ends the trace after its last interval.

    Args:
      step: Number of steps after the interval.
      states: Train states after the interval, which are waited for.

    Returns:
      Description of the trace, its steps and its directory, if it ended with this interval; otherwise None.
    """
    if self._first is None:
      return None
    self._left -= 1
    if self._left:
      return None
    jax.block_until_ready(states)
    detail = f"steps {self._first + 1} to {step}, in {self._directory.name}/"
    self.close()
    return detail

  def close(self) -> None:
    """Ends a trace in progress, such as that of a run that is stopped."""
    if self._first is not None:
      jax.profiler.stop_trace()
    self._first, self._left = None, 0
