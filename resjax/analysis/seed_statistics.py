"""Statistics over seeds: intervals of errors, and paired tests of depth, shortcuts and single settings.

Needs scipy, unlike tables, curves and figures. Student's distribution comes from `scipy.special`, which loads in a
fraction of the time of `scipy.stats`; every run imports this module at its start.
"""

import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from scipy import special

from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network, key_without_depth
from resjax.analysis.tables import classified_images, sampling_error

LEVEL = 0.95  # confidence level of every interval
SIGNIFICANT = 1 - LEVEL
MEASURES = {"test": "test_error", "train": "train_error"}
BETTER, WORSE, UNDECIDED, UNTESTED = "better", "worse", "not told apart", "one seed, no test"
DEPTH, SHORTCUT, SETTING = "depth", "shortcut", "setting"  # in which the two networks of a comparison differ

_INTERVALS = ["net", "label", "measure", "runs", "mean", "spread", "low", "high", "sampling_error"]
_COMPARISONS = [
  *("question", "measure", "net", "than", "label", "than_label", "seeds", "difference", "low", "high"),
  *("sampling_error", "p", "p_holm", "verdict"),
]


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
  """Returns Student's confidence interval of a mean.

  With a handful of seeds, a bootstrap interval would be too narrow.

  Args:
    values: One value per seed.
    level: Confidence level.

  Returns:
    Lower and upper end; NaN for fewer than two values.
  """
  count = len(values)
  if count < 2:
    return math.nan, math.nan
  sample = pd.Series(values, dtype="float64")
  half_width = float(special.stdtrit(count - 1, (1 + level) / 2)) * float(sample.std()) / math.sqrt(count)
  return float(sample.mean()) - half_width, float(sample.mean()) + half_width


def pooled_half_width(samples: Sequence[Sequence[float]], counts: Sequence[int], level: float = LEVEL) -> float:
  """Returns half the width of Student's interval of a mean, or of a difference of means, with a pooled deviation.

  The standard deviation is estimated from the values of all networks together. With two seeds per network, an interval
  from two values alone would be 6.5 times as wide as one from many.

  Args:
    samples: Values of each network.
    counts: Number of values of the mean, or of each mean in the difference.
    level: Confidence level.

  Returns:
    Half the width; NaN if no network has two values.
  """
  degrees_of_freedom = sum(len(values) - 1 for values in samples if len(values))
  if degrees_of_freedom < 1:
    return math.nan
  squares = sum(
    float(pd.Series(values, dtype="float64").var(ddof=0)) * len(values) for values in samples if len(values)
  )
  error = math.sqrt(squares / degrees_of_freedom * sum(1 / count for count in counts))
  return float(special.stdtrit(degrees_of_freedom, (1 + level) / 2)) * error


def intervals(logs: Logs) -> pd.DataFrame:
  """Returns the mean error of each network at the last step over its finished runs, with an interval.

  Returns:
    One row per network and measure with columns net, label, measure ("test", "train"), runs, mean, spread (sample
    standard deviation), low and high (`LEVEL` interval of the mean over seeds), sampling_error (of one run's test
    error; missing for training). Errors are fractions.
  """
  rows = []
  for net in logs.networks:
    done = logs.finished(net)
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
  """Runs paired t tests over the seeds that both networks of a pair have finished.

  Pairs are neighboring depths, and the shallowest and the deepest, of networks that differ only in depth; residual and
  plain networks of the same depth; and networks with swept settings and the network without them. The latter may differ
  in one setting (`experiments/pitfalls.py`) or in several (`experiments/plain_depth.py`, where each initialization has
  its own activation and learning rate). Both are questions of users: the effect of a setting, and that of a recipe as a
  whole. The p values of one question and measure are corrected together (Holm).

  Returns:
    One row per pair and measure with columns question (`DEPTH`, `SHORTCUT` or `SETTING`), measure, net and label (the
    deeper network, the residual one, or the one with the settings), than and than_label (the other network), seeds
    (number), difference (mean error of net minus that of than, a fraction), low and high (`LEVEL` interval),
    sampling_error (of the difference of test errors, as if measured on different images), p and p_holm (missing for one
    seed), verdict.
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
  """Applies Holm's correction to p values; missing values stay missing and are not counted."""
  ordered = p.dropna().sort_values()
  factors = pd.Series(range(len(ordered), 0, -1), index=ordered.index, dtype="float64")
  return (ordered * factors).cummax().clip(upper=1.0).reindex(p.index)


def _depth_pairs(logs: Logs) -> list[tuple[Network, Network]]:
  """Returns (deeper, shallower) pairs of networks that differ only in depth."""
  by_key: dict[str, list[Network]] = {}
  for net in logs.networks:
    if net.depth is not None and not logs.finished(net).empty:
      by_key.setdefault(key_without_depth(net.key), []).append(net)
  pairs = []
  for group in by_key.values():
    group.sort(key=lambda net: net.depth or 0)
    pairs += [(deep, shallow) for shallow, deep in itertools.pairwise(group)]
    if len(group) > 2:
      pairs.append((group[-1], group[0]))
  return pairs


def _shortcut_pairs(logs: Logs) -> list[tuple[Network, Network]]:
  """Returns (residual, plain) pairs of the same depth."""
  plain = {net.key.removeprefix("plain-"): net for net in logs.networks if net.kind == "plain"}
  residual = [net for net in logs.networks if net.kind == "residual"]
  paired = [(net, plain.get(re.sub(r"^residual-[^-]+-", "", net.key))) for net in residual]
  return [(net, other) for net, other in paired if other is not None]


def _setting_pairs(logs: Logs) -> list[tuple[Network, Network]]:
  """Returns pairs of a network with one or several swept settings and the network without them."""
  networks = {net.key: net for net in logs.networks if net.depth is not None}
  bases = {net.key: networks.get(re.sub(rf"(?<=-d{net.depth})-.*$", "", net.key)) for net in networks.values()}
  return [(networks[key], base) for key, base in bases.items() if base is not None and base.key != key]


def _comparison(question: str, measure: str, net: Network, than: Network, logs: Logs) -> dict[str, Any]:
  column = MEASURES[measure]
  finished = logs.finished(net)
  ours, theirs = finished.set_index("seed"), logs.finished(than).set_index("seed")
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
  """Returns the two-sided p value of the paired t test; NaN if the differences do not vary."""
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
