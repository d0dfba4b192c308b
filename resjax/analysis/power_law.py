"""Power laws fitted to measurements, with an interval of the exponent. Needs scipy."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from resjax.analysis import linear_fit


@dataclasses.dataclass(frozen=True)
class PowerLaw:
  """y = coefficient * x ** exponent.

  Attributes:
    exponent: Fitted exponent.
    low: Lower end of the interval of the exponent, at the level `seed_statistics.LEVEL`.
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

  The interval of the exponent is Student's, from the residuals.

  Args:
    x: Values of the independent variable, positive.
    y: Values of the dependent variable, positive, as many as `x`.

  Returns:
    The fit; None if `x` has fewer than `linear_fit.MIN_DISTINCT` distinct values.
  """
  line = linear_fit.fit(np.log(np.asarray(x, "float64")).tolist(), np.log(np.asarray(y, "float64")).tolist())
  if line is None:
    return None
  return PowerLaw(line.slope, line.low, line.high, math.exp(line.intercept), line.correlation**2)
