"""Analysis of run directories: tables, figures and the report. It reads records only and does not need JAX."""

from resjax.analysis.curves import error_curves, response_curves
from resjax.analysis.logs import Logs, load
from resjax.analysis.networks import Network
from resjax.analysis.tables import deviations, errors, events, progress, sampling_error

__all__ = [
  "Logs",
  "Network",
  "deviations",
  "error_curves",
  "errors",
  "events",
  "load",
  "progress",
  "response_curves",
  "sampling_error",
]
