"""Powers fitted to measurements, with intervals. Needs scipy."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from resjax.analysis.seed_statistics import LEVEL

LEAST = 3  # different places, below which any two points would be on a line


@dataclasses.dataclass(frozen=True)
class PowerLaw:
  """height = at_one * place ** exponent.

  Attributes:
    exponent: the fitted one.
    low, high: its `LEVEL` interval.
    at_one: the height at place one.
    explained: share of the variance of the heights' logarithms that the line explains (R squared).
  """

  exponent: float
  low: float
  high: float
  at_one: float
  explained: float


def fit(places: Sequence[float], heights: Sequence[float]) -> PowerLaw | None:
  """Fits a power by least squares of the logarithms; None where there are fewer than `LEAST` different places.

  The interval is Student's, of the points' scatter about the line, so that it is wide where they do not lie on one.

  Args:
    places: positive numbers; as many as `heights`.
    heights: positive numbers.
  """
  if len(set(places)) < LEAST:
    return None
  x, y = np.log(np.asarray(places, "float64")), np.log(np.asarray(heights, "float64"))
  (slope, intercept), covariance = np.polyfit(x, y, 1, cov=True)
  half = float(special.stdtrit(len(x) - 2, (1 + LEVEL) / 2)) * math.sqrt(covariance[0, 0])
  left = float(((y - intercept - slope * x) ** 2).sum())
  total = float(((y - y.mean()) ** 2).sum())
  explained = 1 - left / total if total else math.nan
  return PowerLaw(float(slope), float(slope) - half, float(slope) + half, math.exp(intercept), explained)
