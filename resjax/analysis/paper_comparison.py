"""Comparison with the paper's numbers: agreement within the standard error, difference, or not comparable and why."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax import paper
from resjax.analysis import formats
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.tables import PAPER_DATA, errors, paper_columns

TEST, TRAIN = "test error", "training error"  # claims
AGREES, DIFFERS, NOT_COMPARABLE = "agrees within error", "differs", "not comparable"
# A difference of at most this number of standard errors counts as agreement.
MAX_STANDARD_ERRORS = 2
# Prefixes of settings that change what is recorded, but not the trained network.
WITHOUT_EFFECT = ("responses.", "evaluation.every", "evaluation.batch_size", "checkpoint.", "execution.", "gradients.")
# Settings that the paper does not specify, or that change the result by less than its standard error.
_TOLERATED = ("model.norm_images",)

_COLUMNS = [
  *("label", "net", "claim", "here", "runs", "paper_low", "paper_high", "source", "difference", "error"),
  *("verdict", "reason"),
]


def compare_with_paper(logs: Logs) -> pd.DataFrame:
  """Compares each published number with that of the same network in the logs.

  The standard error of a difference combines the spread over seeds here, the paper's spread (or its spread of
  ResNet-110, if it gives none for a test error), and the sampling error of the test set. The latter is counted once,
  because both networks were tested on the same images. A single seed is assumed to vary as described for
  `assumed_spreads`.

  Returns:
    One row per published number with columns label, net, claim ("test error" or "training error"), here (mean over the
    finished runs), runs, paper_low and paper_high (equal for a single number, different for a range, one missing for a
    bound), source, difference (to the nearer end of the range, 0 inside), error (standard error of the difference),
    verdict, reason (why not comparable, or the remaining deviations).
  """
  table, rows = errors(logs), []
  assumed = {kind: assumed_spreads(of_kind) for kind, of_kind in table.groupby("kind")}
  measured = {row["net"]: {str(key): value for key, value in row.items()} for row in table.to_dict("records")}
  for net in logs.networks:
    for row in paper_differences(net, measured[net.key], assumed[net.kind]):
      judged = _with_verdict(net, row, measured[net.key], logs)
      if judged["verdict"] != NOT_COMPARABLE and row["runs"] == 1:
        judged["reason"] = "; ".join(filter(None, (judged["reason"], assumed[net.kind][row["claim"]].description)))
      rows.append({**judged, "label": net.label, "net": net.key})
  return pd.DataFrame(rows, columns=_COLUMNS)


@dataclasses.dataclass(frozen=True)
class AssumedSpread:
  """Standard deviation over seeds that is assumed for a network of one seed.

  Attributes:
    spread: Standard deviation, a fraction.
    description: The assumption in words.
  """

  spread: float
  description: str


def assumed_spreads(table: pd.DataFrame) -> dict[str, AssumedSpread]:
  """Returns the standard deviations over seeds that are assumed for networks of one seed, by claim.

  It is the pooled one of the networks with several seeds. Without these, that of the test error is the paper's for
  ResNet-110, and that of the training error is unknown and taken as 0.

  Args:
    table: Rows of `tables.errors` of one kind of network; plain networks vary more than residual ones.
  """
  known = paper.CIFAR10_RESIDUAL[110]
  assumed = {}
  for claim, column, otherwise, source in (
    (TEST, "test_spread", float(known.spread or 0), "that of ResNet-110 in the paper"),
    (TRAIN, "train_spread", 0.0, ""),
  ):
    several = table[table[column].notna()]
    freedom = several["done"] - 1
    if len(several):
      otherwise = math.sqrt((freedom * several[column] ** 2).sum() / freedom.sum())
      source = "that of the networks with several seeds here"
    words = f"one seed, standard deviation over seeds assumed to be {source}, {formats.percent(otherwise)} points"
    assumed[claim] = AssumedSpread(otherwise, words if source else "one seed, standard deviation over seeds unknown")
  return assumed


def paper_differences(
  net: Network, measured: Mapping[str, Any], assumed: Mapping[str, AssumedSpread]
) -> list[dict[str, Any]]:
  """Returns the published numbers for a network's kind and depth, and the differences to them.

  Args:
    net: The network.
    measured: Row of the network in `tables.errors`.
    assumed: Result of `assumed_spreads`.

  Returns:
    For each published number: claim, here, runs, paper_low, paper_high, source, difference, error, as in
    `compare_with_paper`.
  """
  return [_difference(claim, measured, assumed[claim["claim"]].spread) for claim in _claims(net)]


def _claims(net: Network) -> list[dict[str, Any]]:
  """Returns the published numbers for a network's kind and depth, regardless of the data set here."""
  known = paper.CIFAR10_RESIDUAL.get(net.depth or 0)
  if known is None or net.shortcut not in ("A", None):
    return []
  test, train = {"claim": TEST, "column": "test_error"}, {"claim": TRAIN, "column": "train_error"}
  if net.kind == "residual":
    exact = {
      **test,
      "paper_low": known.error,
      "paper_high": known.error,
      "spread": known.spread,
      "runs_there": known.runs,
    }
    bound = {**train, "paper_low": math.nan, "paper_high": paper.CIFAR10_1202_TRAIN_BELOW}
    sources = {"source": known.source}, {"source": "Sec. 4.2"}
    return [{**exact, **sources[0]}, *([{**bound, **sources[1]}] if net.depth == 1202 else [])]
  if net.kind != "plain":
    return []
  claims = []
  if net.depth in paper.CIFAR10_PLAIN_REPRODUCTIONS:
    low, high = paper.CIFAR10_PLAIN_REPRODUCTIONS[net.depth]
    claims.append({**test, "paper_low": low, "paper_high": high, "source": "other reproductions"})
  if net.depth == 110:
    above = {"paper_low": paper.CIFAR10_PLAIN_110_ABOVE, "paper_high": math.nan, "source": "Sec. 4.2"}
    claims.append({**test, **above})
  return claims


def _difference(claim: Mapping[str, Any], measured: Mapping[str, Any], assumed: float) -> dict[str, Any]:
  here = measured[claim["column"]]
  low, high = claim["paper_low"], claim["paper_high"]
  return {
    **{"claim": claim["claim"], "here": here, "runs": measured["done"], "paper_low": low, "paper_high": high},
    **{"source": claim["source"], "error": _error(claim, measured, assumed)},
    "difference": here - high if here > high else here - low if here < low else 0.0,
  }


def _with_verdict(net: Network, row: Mapping[str, Any], measured: Mapping[str, Any], logs: Logs) -> dict[str, Any]:
  deviating = _deviations(net, logs)
  reasons = _reasons_against(net, measured, deviating, logs)
  if reasons:
    return {**row, "difference": math.nan, "error": math.nan, "verdict": NOT_COMPARABLE, "reason": "; ".join(reasons)}
  agrees = abs(row["difference"]) <= MAX_STANDARD_ERRORS * row["error"]
  remaining = [description for name, description in deviating if name in _TOLERATED]
  reason = f"with {', '.join(remaining)}" if remaining else ""
  return {**row, "verdict": AGREES if agrees else DIFFERS, "reason": reason}


def _error(claim: Mapping[str, Any], measured: Mapping[str, Any], assumed: float) -> float:
  """Returns the standard error of the difference to a published number, as `compare_with_paper` describes it."""
  spread = measured["test_spread" if claim["claim"] == TEST else "train_spread"]
  spread = assumed if pd.isna(spread) else spread
  published_spread = claim.get("spread")
  seeds_here = spread / math.sqrt(max(measured["done"], 1))
  if published_spread is None:
    published_spread = paper.CIFAR10_RESIDUAL[110].spread if claim["claim"] == TEST else spread
  seeds_there = float(published_spread or 0) / math.sqrt(claim.get("runs_there", 1))
  sampled = measured["sampling_error"] if claim["claim"] == TEST else 0.0
  return math.hypot(seeds_here, seeds_there, 0.0 if pd.isna(sampled) else sampled)


def _reasons_against(
  net: Network, measured: Mapping[str, Any], deviating: list[tuple[str, str]], logs: Logs
) -> list[str]:
  """Returns the reasons why the numbers are not comparable; [] if they are comparable."""
  runs = logs.runs[logs.runs["net"] == net.key]
  reasons = []
  names = sorted(set(runs["data_name"].dropna()) - {PAPER_DATA})
  if names:
    reasons.append(f"data is {', '.join(names)}, not {PAPER_DATA}")
  reasons += [
    description for name, description in deviating if not name.startswith("data.name") and name not in _TOLERATED
  ]
  if not reasons and not paper_columns(net, runs)["paper_source"]:
    reasons.append("another net of that depth")
  if measured["done"] == 0:
    reasons.append("no run has finished")
  return reasons


def _deviations(net: Network, logs: Logs) -> list[tuple[str, str]]:
  """Returns (setting, description) of the deviations of a network's runs that may change a result."""
  deviations = logs.deviations[logs.deviations["net"] == net.key]
  descriptions = {
    str(row["name"]): f"{row['name']} {row['here']}, paper {row['paper']}"
    for row in deviations.to_dict("records")
    if not str(row["name"]).startswith(WITHOUT_EFFECT)
  }
  return list(descriptions.items())
