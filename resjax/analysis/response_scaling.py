"""Power law of the mean response in depth, with its interval. Needs scipy."""

import pandas as pd

from resjax.analysis import power_law
from resjax.analysis.networks import key_without_depth

# Of blocks that are independent and whose variances add up to the same sum at every depth (derived).
INDEPENDENT_BLOCKS_EXPONENT = -0.5

_COLUMNS = ["series", "kind", "depths", "runs", "exponent", "low", "high", "coefficient"]


def fit_response_scaling(means: pd.DataFrame) -> pd.DataFrame:
  """Fits mean response = coefficient * depth ** exponent to runs of networks that differ only in depth.

  Series of fewer than three depths are left out.

  Args:
    means: what `response_history.mean_responses` returned.

  Returns:
    series (the key of the nets without their depth), kind, depths and runs (counts), exponent, low and high (interval
    as of `power_law.fit`), coefficient.
  """
  usable = means[(means["mean"] > 0) & means["depth"].notna()]
  alike = usable["net"].map(key_without_depth)
  rows = []
  for series, runs in usable.groupby(alike, sort=False):
    depths = list(runs["depth"].astype("float64"))
    fitted = power_law.fit(depths, list(runs["mean"]))
    if fitted:
      kind = next(iter(runs["kind"]))
      counts = len(set(depths)), len(runs)
      rows.append((series, kind, *counts, fitted.exponent, fitted.low, fitted.high, fitted.coefficient))
  return pd.DataFrame(rows, columns=_COLUMNS)
