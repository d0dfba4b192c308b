"""How the mean response falls with depth: a fitted power, with its interval. Needs scipy."""

import math

import numpy as np
import pandas as pd
from scipy import special

from resjax.analysis.nets import but_for_depth
from resjax.analysis.seeds import LEVEL

_COLUMNS = ["series", "kind", "depths", "runs", "exponent", "low", "high", "at_one"]


def decay(means: pd.DataFrame) -> pd.DataFrame:
  """Fits mean response = at_one * depth ** exponent to the runs of nets that are alike but for depth.

  Least squares of the logarithms; the interval is Student's, of the runs' scatter about the line, so that it is wide
  where the depths do not lie on a line. Series of fewer than three depths are left out.

  Args:
    means: what `atlas.mean_responses` returned.

  Returns:
    series (the key of the nets without their depth), kind, depths and runs (counts), exponent, low and high (`LEVEL`
    interval), at_one.
  """

  usable = means[(means["mean"] > 0) & means["depth"].notna()]
  alike = usable["net"].map(but_for_depth)
  rows = []
  for series, runs in usable.groupby(alike, sort=False):
    depths = int(runs["depth"].nunique())
    if depths < 3:
      continue
    x, y = (np.log(runs[column].to_numpy("float64")) for column in ("depth", "mean"))
    (slope, intercept), covariance = np.polyfit(x, y, 1, cov=True)
    half = special.stdtrit(len(x) - 2, (1 + LEVEL) / 2) * math.sqrt(covariance[0, 0])
    kind = next(iter(runs["kind"]))
    fitted = (float(slope), float(slope - half), float(slope + half), math.exp(intercept))
    rows.append((series, kind, depths, len(runs), *fitted))
  return pd.DataFrame(rows, columns=_COLUMNS)
