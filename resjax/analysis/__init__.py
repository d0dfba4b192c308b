"""Run directories in; tables, figures and the page out. Knows records, not models, and no JAX."""

from resjax.analysis.curves import error_curves, response_curves
from resjax.analysis.frames import Logs, load
from resjax.analysis.nets import Net, nets
from resjax.analysis.tables import deviations, errors, events, progress, sampling_error

__all__ = [
  "Logs",
  "Net",
  "deviations",
  "error_curves",
  "errors",
  "events",
  "load",
  "nets",
  "progress",
  "response_curves",
  "sampling_error",
]
