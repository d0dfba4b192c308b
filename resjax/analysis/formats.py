"""Number formats of the report. A missing value is formatted as a dash."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

MISSING = "–"


def percent(error: Any, spread: Any = None, before: str = "") -> str:
  """Formats a fraction in percent, without the sign: 0.0661 is "6.61", with a spread "6.61 ± 0.16"."""
  if pd.isna(error):
    return MISSING
  return f"{before}{number(100 * error)}" + ("" if pd.isna(spread) else f" ± {number(100 * spread)}")


def published(row: Mapping[str, Any]) -> str:
  """Formats the published error of a row of `tables.errors`; numbers of other reproductions get a star."""
  if pd.isna(row["paper_low"]):
    return percent(row["paper_error"], row["paper_spread"])
  low, high = percent(row["paper_low"]), percent(row["paper_high"])
  return f"{low} *" if low == high else f"{low} to {high} *"


def count(value: Any) -> str:
  """Formats an integer with thousands separators: 64000 is "64,000"."""
  return MISSING if pd.isna(value) else f"{int(value):,}"


def short(value: Any) -> str:
  """Formats a large number with three digits: 40550000 is "40.5M", 2829200000 is "2,829M"."""
  if pd.isna(value):
    return MISSING
  if value < 1e4:
    return count(value)
  millions = value / 1e6
  return f"{millions:,.0f}M" if millions >= 100 else f"{millions:.3g}M"


def share(fraction: Any) -> str:
  """Formats a fraction of the steps as an integer percentage, rounded down so that only finished runs have 100."""
  return "0" if pd.isna(fraction) else str(int(100 * min(max(fraction, 0.0), 1.0)))


def signed(value: Any, digits: int = 2) -> str:
  """Formats a number with its sign and a typographic minus: -0.028 with two digits is "−0.03"."""
  return MISSING if pd.isna(value) else f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def number(value: Any, digits: int = 2) -> str:
  """Formats a number with `digits` decimals and a typographic minus."""
  return MISSING if pd.isna(value) else f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def figures(value: Any, count: int = 3) -> str:
  """Formats a number with `count` significant digits: 12345.6 is "12,300", 0.98765 is "0.988", 1.2e9 is "1.2e+09"."""
  if pd.isna(value):
    return MISSING
  rounded = f"{value:.{count}g}"
  return (f"{float(rounded):,.0f}" if 1e3 <= abs(value) < 1e6 else rounded).replace("-", "\N{MINUS SIGN}")
