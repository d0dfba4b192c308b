"""Statistics over seeds: intervals of errors, and paired tests of depth, shortcuts and single settings.

Needs scipy; tables, curves and figures do without it. `scipy.special` has Student's distribution, too, and loads in a
fraction of the time of `scipy.stats`, which every run would wait for at its start.
"""

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy import special

from resjax import records
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network, key_without_depth
from resjax.analysis.tables import classified_images, sampling_error

LEVEL = 0.95  # of every interval
SIGNIFICANT = 1 - LEVEL
MEASURES = {"test": "test_error", "train": "train_error"}
BETTER, WORSE, UNDECIDED, UNTESTED = "better", "worse", "not told apart", "one seed, no test"
DEPTH, SHORTCUT, SETTING = "depth", "shortcut", "setting"  # what the two nets of a comparison differ in

_INTERVALS = ["net", "label", "measure", "runs", "mean", "spread", "low", "high", "sampling_error"]
_COMPARISONS = [
  *("question", "measure", "net", "than", "label", "than_label", "seeds", "difference", "low", "high"),
  *("sampling_error", "p", "p_holm", "verdict"),
]


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
  """Returns Student's interval of the mean of `values`; (nan, nan) for fewer than two.

  With so few seeds a bootstrap would draw from a handful of values and be too narrow; the t quantile knows how few
  they are.
  """
  count = len(values)
  if count < 2:
    return math.nan, math.nan
  sample = pd.Series(values, dtype="float64")
  half = float(special.stdtrit(count - 1, (1 + level) / 2)) * float(sample.std()) / math.sqrt(count)
  return float(sample.mean()) - half, float(sample.mean()) + half


def pooled_half_width(samples: Sequence[Sequence[float]], counts: Sequence[int], level: float = LEVEL) -> float:
  """Returns half the width of Student's interval of a sum or difference of means, with one standard deviation for all.

  With two seeds a network, an interval from its own two values would be nine times as wide as one from many.

  Args:
    samples: Values of each network; together they give the standard deviation. Nan if none has two values.
    counts: Number of values behind each mean in the sum: of one for the interval of a mean, two for a difference.
    level: Share of such intervals that hold the true value.
  """
  freedom = sum(len(values) - 1 for values in samples if len(values))
  if freedom < 1:
    return math.nan
  squares = sum(
    float(pd.Series(values, dtype="float64").var(ddof=0)) * len(values) for values in samples if len(values)
  )
  error = math.sqrt(squares / freedom * sum(1 / count for count in counts))
  return float(special.stdtrit(freedom, (1 + level) / 2)) * error


def intervals(logs: Logs) -> pd.DataFrame:
  """Returns one row per network and measure: the error at the last step over its finished seeds.

  Returns:
    net, label, measure ("test", "train"), runs, mean, spread (sample standard deviation), low and high (`LEVEL`
    interval of the mean over seeds), sampling_error (of one run's test error; missing for training). Fractions.
  """
  rows = []
  for net in logs.networks:
    done = _finished(logs, net)
    for measure, column in MEASURES.items():
      values = done[column].dropna()
      low, high = interval(list(values))
      images = classified_images(logs, done) if measure == "test" else math.nan
      sampled = math.nan if pd.isna(images) or values.empty else sampling_error(values.mean(), images)
      rows.append(
        (net.key, net.label, measure, len(values), values.mean(), values.std(), low, high, sampled),
      )
  return pd.DataFrame(rows, columns=_INTERVALS)


def comparisons(logs: Logs) -> pd.DataFrame:
  """Runs paired tests over the seeds that both networks of a pair have finished.

  Pairs are neighbouring depths and the shallowest with the deepest of nets that are alike but for depth, plain with
  residual nets of one depth, and nets with another setting than the experiment's own with those without it. The p
  values of one question and measure are corrected together (Holm).

  Returns:
    question ("depth", "shortcut" or "setting"), measure, net and label (the deeper one, the residual one, the one with
    the other setting), than and than_label,
    seeds, difference (mean of net less than; a fraction), low and high (`LEVEL` interval), sampling_error (of the
    difference of two test errors, as if measured on different images), p and p_holm (missing for one seed), verdict.
  """
  rows = [
    _comparison(question, measure, net, than, logs)
    for measure in MEASURES
    for question, pairs in (
      (DEPTH, _depth_pairs(logs)),
      (SHORTCUT, _shortcut_pairs(logs)),
      (SETTING, _setting_pairs(logs)),
    )
    for net, than in pairs
  ]
  frame = pd.DataFrame([row for row in rows if row["seeds"]], columns=_COMPARISONS)
  frame["p_holm"] = frame.groupby(["question", "measure"])["p"].transform(holm).astype("float64")
  frame["verdict"] = [_verdict(row) for _, row in frame.iterrows()]
  return frame


def holm(p: pd.Series) -> pd.Series:
  """Applies Holm's correction to p values; missing ones stay missing and do not count."""
  ordered = p.dropna().sort_values()
  factors = pd.Series(range(len(ordered), 0, -1), index=ordered.index, dtype="float64")
  return (ordered * factors).cummax().clip(upper=1.0).reindex(p.index)


def _finished(logs: Logs, net: Network) -> pd.DataFrame:
  return logs.runs[(logs.runs["net"] == net.key) & (logs.runs["status"] == records.DONE)]


def _depth_pairs(logs: Logs) -> list[tuple[Network, Network]]:
  """Returns (deeper, shallower) pairs of networks that differ only in depth."""
  alike: dict[str, list[Network]] = {}
  for net in logs.networks:
    if net.depth is not None and not _finished(logs, net).empty:
      alike.setdefault(key_without_depth(net.key), []).append(net)
  found = []
  for group in alike.values():
    group.sort(key=lambda net: net.depth or 0)
    found += [(deep, shallow) for shallow, deep in itertools.pairwise(group)]
    if len(group) > 2:
      found.append((group[-1], group[0]))
  return found


def _shortcut_pairs(logs: Logs) -> list[tuple[Network, Network]]:
  """Returns (residual, plain) pairs of the same depth."""
  every = logs.networks
  plain = {net.key.removeprefix("plain-"): net for net in every if net.kind == "plain"}
  residual = [net for net in every if net.kind == "residual"]
  paired = [(net, plain.get(re.sub(r"^residual-[^-]+-", "", net.key))) for net in residual]
  return [(net, other) for net, other in paired if other is not None]


def _setting_pairs(logs: Logs) -> list[tuple[Network, Network]]:
  """Returns pairs of a network with a swept setting and the one without it."""
  every = {net.key: net for net in logs.networks if net.depth is not None}
  bases = {net.key: every.get(re.sub(rf"(?<=-d{net.depth})-.*$", "", net.key)) for net in every.values()}
  return [(every[key], base) for key, base in bases.items() if base is not None and base.key != key]


def _comparison(question: str, measure: str, net: Network, than: Network, logs: Logs) -> dict[str, Any]:
  column = MEASURES[measure]
  finished = _finished(logs, net)
  ours, theirs = finished.set_index("seed"), _finished(logs, than).set_index("seed")
  both = pd.concat([ours[column].rename("net"), theirs[column].rename("than")], axis="columns", join="inner").dropna()
  differences = list(both["net"] - both["than"])
  low, high = interval(differences)
  images = classified_images(logs, finished) if measure == "test" else math.nan
  sampled = math.nan
  if not pd.isna(images) and len(both):
    sampled = math.hypot(*(sampling_error(both[side].mean(), images) for side in ("net", "than")))
  return {
    **{"question": question, "measure": measure, "net": net.key, "than": than.key},
    **{"label": net.label, "than_label": than.label, "seeds": len(both)},
    **{"difference": sum(differences) / len(both) if len(both) else math.nan, "low": low, "high": high},
    **{"sampling_error": sampled, "p": _paired_p(differences)},
  }


def _paired_p(differences: list[float]) -> float:
  """Returns the two-sided p value of the paired t test; nan if the differences do not vary."""
  if len(differences) < 2 or max(differences) - min(differences) < 1e-12:
    return math.nan
  sample = pd.Series(differences, dtype="float64")
  t = float(sample.mean()) / (float(sample.std()) / math.sqrt(len(sample)))
  return 2 * float(special.stdtr(len(sample) - 1, -abs(t)))


def _verdict(row: pd.Series) -> str:
  if row["seeds"] < 2:
    return UNTESTED
  if pd.isna(row["p_holm"]) or row["p_holm"] >= SIGNIFICANT:
    return UNDECIDED
  return BETTER if row["difference"] < 0 else WORSE
