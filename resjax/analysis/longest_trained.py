"""The study that trained each network of the paper longest, and the agreement of its error with the paper's."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resjax import paper
from resjax.analysis import paper_comparison, tables
from resjax.analysis.logs import Logs
from resjax.analysis.networks import NAMES, Network

AGREES, HIGHER, LOWER = "agrees", "higher", "lower"
ALL = "all studies"
# Networks that were trained for less than this fraction of the longest training are not comparable with the others.
MIN_RELATIVE_SHARE = 1 / 8


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
  """A network of the paper in one study.

  Attributes:
    study: Name of the study's directory.
    logs: Logs of the study.
    net: The network.
    share: Number of images seen in training, as a fraction of the paper's schedule.
    errors: Row of the network in `tables.errors`.
    claim: Published test error, an element of `paper_comparison.paper_differences`.
  """

  study: str
  logs: Logs
  net: Network
  share: float
  errors: Mapping[str, Any]
  claim: Mapping[str, Any]

  @property
  def label(self) -> str:
    """Name of the network in the paper, without the settings that its study compares."""
    return f"{NAMES[self.net.kind]}-{self.net.depth}"

  @property
  def verdict(self) -> str:
    """`AGREES` within two standard errors with the paper, `HIGHER` or `LOWER`; deviations are not considered."""
    here, low, high = self.errors["test_error"], self.claim["paper_low"], self.claim["paper_high"]
    within = paper_comparison.MAX_STANDARD_ERRORS * self.claim["error"]
    return HIGHER if here > high + within else LOWER if here < low - within else AGREES


def paper_networks(experiments: Mapping[Path, Logs]) -> list[TrainedNetwork]:
  """Returns the networks of the paper in all studies, where they have been trained to the end.

  Networks are not the paper's if they have another setting in their name, were trained elsewhere, or were initialized
  from another network. Networks with less than `MIN_RELATIVE_SHARE` of the longest training are left out.

  Args:
    experiments: Logs of each study, by its directory.
  """
  found = [each for directory, logs in experiments.items() for each in _trained_networks(directory.name, logs)]
  longest = max((each.share for each in found), default=0)
  return [each for each in found if each.share >= MIN_RELATIVE_SHARE * longest]


def longest_trained(networks: Sequence[TrainedNetwork]) -> list[TrainedNetwork]:
  """Returns each network from the study that trained it longest, or from that with most finished seeds of equal ones.

  Args:
    networks: Result of `paper_networks`.

  Returns:
    One entry per network, plain before residual, shallow before deep.
  """
  best: dict[tuple[str, int], TrainedNetwork] = {}
  for each in networks:
    key = (each.net.kind, each.net.depth or 0)
    if key not in best or _rank(each) > _rank(best[key]):
      best[key] = each
  return [best[key] for key in sorted(best)]


def deviations_by_study(chosen: Sequence[TrainedNetwork]) -> dict[str, list[str]]:
  """Returns descriptions of the deviations of each study from the paper, such as "`train.steps` 8000 (paper: 64000)".

  Args:
    chosen: Result of `longest_trained`.

  Returns:
    Descriptions by the study's name. Deviations that several studies have in common come first, under the name `ALL`.
  """
  by_study: dict[str, list[str]] = {}
  for each in chosen:
    of_study = by_study.setdefault(each.study, [])
    deviations = each.logs.deviations[each.logs.deviations["net"] == each.net.key]
    for row in deviations.to_dict("records"):
      words = f"`{row['name']}` {row['here']} (paper: {row['paper']})"
      if words not in of_study and not str(row["name"]).startswith(paper_comparison.WITHOUT_EFFECT):
        of_study.append(words)
  shared = [words for words in next(iter(by_study.values()), []) if all(words in each for each in by_study.values())]
  if len(by_study) == 1 or not shared:
    return by_study
  return {ALL: shared, **{study: [words for words in each if words not in shared] for study, each in by_study.items()}}


def known_seed_spreads(experiments: Mapping[Path, Logs]) -> list[float]:
  """Returns the known standard deviations over seeds of test errors on the paper's data set, sorted."""
  spreads = [
    row["test_spread"]
    for logs in experiments.values()
    if set(logs.runs["data_name"].dropna()) == {tables.PAPER_DATA}
    for row in tables.errors(logs).to_dict("records")
  ]
  return sorted(spread for spread in spreads if not math.isnan(spread))


def _rank(trained: TrainedNetwork) -> tuple[float, int]:
  """Returns the sort key by which longer training, then more seeds, come last."""
  return round(trained.share, 6), trained.errors["done"]


def _trained_networks(study: str, logs: Logs) -> list[TrainedNetwork]:
  """Returns the paper's networks of one study that have been trained to the end."""
  batch_sizes = logs.setting("train.batch_size")
  table, result = tables.errors(logs), []
  assumed = {kind: paper_comparison.assumed_spreads(of_kind) for kind, of_kind in table.groupby("kind")}
  measured = {row["net"]: {str(key): value for key, value in row.items()} for row in table.to_dict("records")}
  for net in logs.networks:
    done = logs.finished(net)
    images = (done["steps"].astype("float64") * done["id"].map(batch_sizes).astype("float64")).min()
    usual = net.key in (f"plain-d{net.depth}", f"residual-A-d{net.depth}")
    began = "initial weights" in set(logs.deviations[logs.deviations["net"] == net.key]["name"])
    papers = tables.paper_columns(net, done)["paper_source"] if len(done) else None
    if usual and papers and not began and images > 0:
      share = float(images) / (paper.CIFAR10_STEPS * paper.CIFAR10_BATCH_SIZE)
      # The last claim: for plain-110 the paper's own bound comes after the number of other reproductions.
      differences = paper_comparison.paper_differences(net, measured[net.key], assumed[net.kind])
      claim = [row for row in differences if row["claim"] == paper_comparison.TEST][-1]
      result.append(TrainedNetwork(study, logs, net, share, measured[net.key], claim))
  return result
