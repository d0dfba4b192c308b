"""Straight lines fitted to measurements, with an interval of the slope. Needs scipy."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from resjax.analysis.seed_statistics import LEVEL

MIN_DISTINCT = 3  # values of x, because any two points lie on a line


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

  The interval of the slope is Student's, from the residuals.

  Args:
    x: Values of the independent variable.
    y: Values of the dependent variable, as many as `x`.

  Returns:
    The fit; None if `x` has fewer than `MIN_DISTINCT` distinct values.
  """
  if len(set(x)) < MIN_DISTINCT:
    return None
  xs, ys = np.asarray(x, "float64"), np.asarray(y, "float64")
  (slope, intercept), covariance = np.polyfit(xs, ys, 1, cov=True)
  half_width = float(special.stdtrit(len(xs) - 2, (1 + LEVEL) / 2)) * math.sqrt(covariance[0, 0])
  correlation = float(np.corrcoef(xs, ys)[0, 1]) if np.ptp(ys) else math.nan
  return Line(float(slope), float(slope) - half_width, float(slope) + half_width, float(intercept), correlation)
