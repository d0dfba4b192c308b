"""Power law of the mean response against depth, with an interval of the exponent. Needs scipy."""

import pandas as pd

from resjax.analysis import power_law
from resjax.analysis.networks import key_without_depth

# Derived for independent blocks whose variances have the same sum at every depth.
INDEPENDENT_BLOCKS_EXPONENT = -0.5

_COLUMNS = ["series", "kind", "depths", "runs", "exponent", "low", "high", "coefficient"]


def fit_response_scaling(means: pd.DataFrame) -> pd.DataFrame:
  """Fits mean response = coefficient * depth ** exponent to runs of networks that differ only in depth.

  Series of fewer than three depths are left out.

  Args:
    means: Result of `response_history.mean_responses`.

  Returns:
    Columns series (key of the networks without their depth), kind, depths and runs (counts), exponent, low and high
    (interval of the exponent, see `power_law.fit`), coefficient.
  """
  usable = means[(means["mean"] > 0) & means["depth"].notna()]
  keys = usable["net"].map(key_without_depth)
  rows = []
  for series, runs in usable.groupby(keys, sort=False):
    depths = list(runs["depth"].astype("float64"))
    fitted = power_law.fit(depths, list(runs["mean"]))
    if fitted:
      kind = next(iter(runs["kind"]))
      counts = len(set(depths)), len(runs)
      rows.append((series, kind, *counts, fitted.exponent, fitted.low, fitted.high, fitted.coefficient))
  return pd.DataFrame(rows, columns=_COLUMNS)
