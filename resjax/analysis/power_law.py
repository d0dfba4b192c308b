"""Power laws fitted to measurements, with intervals. Needs scipy."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from resjax.analysis.seed_statistics import LEVEL

MIN_DISTINCT = 3  # distinct x: any two points lie on a line


@dataclasses.dataclass(frozen=True)
class PowerLaw:
  """y = coefficient * x ** exponent.

  Attributes:
    exponent: Fitted exponent.
    low: Lower end of the `LEVEL` interval of the exponent.
    high: Upper end of that interval.
    coefficient: y at x = 1.
    r_squared: Fraction of the variance of log y that the fit explains.
  """

  exponent: float
  low: float
  high: float
  coefficient: float
  r_squared: float


def fit(x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
  """Fits a power law by least squares of the logarithms.

  The interval is Student's, from the scatter of the points about the line.

  Args:
    x: Positive numbers.
    y: Positive numbers, as many as `x`.

  Returns:
    The fit; None with fewer than `MIN_DISTINCT` distinct x.
  """
  if len(set(x)) < MIN_DISTINCT:
    return None
  log_x, log_y = np.log(np.asarray(x, "float64")), np.log(np.asarray(y, "float64"))
  (slope, intercept), covariance = np.polyfit(log_x, log_y, 1, cov=True)
  half = float(special.stdtrit(len(log_x) - 2, (1 + LEVEL) / 2)) * math.sqrt(covariance[0, 0])
  residual = float(((log_y - intercept - slope * log_x) ** 2).sum())
  total = float(((log_y - log_y.mean()) ** 2).sum())
  r_squared = 1 - residual / total if total else math.nan
  return PowerLaw(float(slope), float(slope) - half, float(slope) + half, math.exp(intercept), r_squared)
