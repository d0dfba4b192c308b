"""Straight lines fitted to measurements, with intervals. Needs scipy."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from resjax.analysis.seed_statistics import LEVEL

MIN_DISTINCT = 3  # distinct x: any two points lie on a line


@dataclasses.dataclass(frozen=True)
class Line:
  """y = intercept + slope * x.

  Attributes:
    slope: Fitted slope.
    low: Lower end of the `LEVEL` interval of the slope.
    high: Upper end of that interval.
    intercept: y at x = 0.
    correlation: Pearson's correlation of x and y; nan if y does not vary.
  """

  slope: float
  low: float
  high: float
  intercept: float
  correlation: float


def fit(x: Sequence[float], y: Sequence[float]) -> Line | None:
  """Fits a line by least squares.

  The interval is Student's, from the scatter of the points about the line.

  Args:
    x: Numbers.
    y: As many numbers.

  Returns:
    The fit; None with fewer than `MIN_DISTINCT` distinct x.
  """
  if len(set(x)) < MIN_DISTINCT:
    return None
  across, up = np.asarray(x, "float64"), np.asarray(y, "float64")
  (slope, intercept), covariance = np.polyfit(across, up, 1, cov=True)
  half = float(special.stdtrit(len(across) - 2, (1 + LEVEL) / 2)) * math.sqrt(covariance[0, 0])
  correlation = float(np.corrcoef(across, up)[0, 1]) if np.ptp(up) else math.nan
  return Line(float(slope), float(slope) - half, float(slope) + half, float(intercept), correlation)
