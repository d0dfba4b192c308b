"""For each network of the paper, the study that trained it longest, and its agreement with the paper."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from resjax import paper, records
from resjax.analysis import paper_comparison, tables
from resjax.analysis.logs import Logs
from resjax.analysis.networks import NAMES, Network

AGREES, HIGHER, LOWER = "agrees", "higher", "lower"
ALL = "all studies"
LEAST = 1 / 8  # of the longest training's share, below which a net is too far from the others to stand beside them


@dataclasses.dataclass(frozen=True)
class TrainedNetwork:
  """A network of the paper in one study.

  Attributes:
    study: the directory's name.
    logs: of the study.
    net: in it.
    share: of the paper's schedule, in images seen.
    errors: its row of `tables.errors`.
    claim: what the paper says of its test error, as of `paper_comparison.paper_differences`.
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
    """Whether the error agrees with the paper's within two standard errors, whatever the deviations."""
    here, low, high = self.errors["test_error"], self.claim["paper_low"], self.claim["paper_high"]
    within = paper_comparison.MAX_STANDARD_ERRORS * self.claim["error"]
    return HIGHER if here > high + within else LOWER if here < low - within else AGREES


def longest_trained(experiments: Mapping[Path, Logs]) -> list[TrainedNetwork]:
  """Returns, for each network of the paper, the study that trained it longest.

  Nets with another setting in their name are others than the paper's, and so are nets that were trained elsewhere, or
  began as another net. Of studies of one length that with the most finished seeds counts. Nets that went less than
  `LEAST` as far as the one that went furthest are left out.

  Args:
    experiments: the logs of each study by its directory.

  Returns:
    One a net, plain before residual, shallow before deep.
  """
  found: dict[tuple[str, int], TrainedNetwork] = {}
  for directory, logs in experiments.items():
    for each in _of_study(directory.name, logs):
      key = (each.net.kind, each.net.depth or 0)
      if key not in found or _rank(each) > _rank(found[key]):
        found[key] = each
  longest = max((each.share for each in found.values()), default=0)
  return [found[key] for key in sorted(found) if found[key].share >= LEAST * longest]


def deviations_by_study(chosen: Sequence[TrainedNetwork]) -> dict[str, list[str]]:
  """Returns the deviations of each study from the paper, as "`train.steps` 8000 (paper: 64000)".

  Returns:
    The words by the study's name; of several studies what all of them do stands first, under the name `ALL`.
  """
  found: dict[str, list[str]] = {}
  for each in chosen:
    said = found.setdefault(each.study, [])
    own = each.logs.deviations[each.logs.deviations["net"] == each.net.key]
    for row in own.to_dict("records"):
      words = f"`{row['name']}` {row['here']} (paper: {row['paper']})"
      if words not in said and not str(row["name"]).startswith(paper_comparison.WITHOUT_EFFECT):
        said.append(words)
  shared = [words for words in next(iter(found.values()), []) if all(words in said for said in found.values())]
  if len(found) == 1 or not shared:
    return found
  return {ALL: shared, **{study: [words for words in said if words not in shared] for study, said in found.items()}}


def known_seed_spreads(experiments: Mapping[Path, Logs]) -> list[float]:
  """Returns the known standard deviations over seeds of test errors on the paper's data set, sorted."""
  every = [
    row["test_spread"]
    for logs in experiments.values()
    if set(logs.runs["data_name"].dropna()) == {tables.PAPER_DATA}
    for row in tables.errors(logs).to_dict("records")
  ]
  return sorted(spread for spread in every if not math.isnan(spread))


def _rank(trained: TrainedNetwork) -> tuple[float, int]:
  return round(trained.share, 6), trained.errors["done"]


def _of_study(study: str, logs: Logs) -> list[TrainedNetwork]:
  sizes = logs.settings[logs.settings["key"] == "train.batch_size"].set_index("id")["value"]
  measured = {
    row["net"]: {str(key): value for key, value in row.items()} for row in tables.errors(logs).to_dict("records")
  }
  found = []
  for net in logs.networks:
    done = logs.runs[(logs.runs["net"] == net.key) & (logs.runs["status"] == records.DONE)]
    images = (done["steps"].astype("float64") * done["id"].map(sizes).astype("float64")).min()
    usual = net.key in (f"plain-d{net.depth}", f"residual-A-d{net.depth}")
    began = "initial weights" in set(logs.deviations[logs.deviations["net"] == net.key]["name"])
    papers = tables.paper_columns(net, done)["paper_source"] if len(done) else None
    if usual and papers and not began and images > 0:
      share = float(images) / (paper.CIFAR10_STEPS * paper.CIFAR10_BATCH_SIZE)
      # The paper's own bound of plain-110 stands after the number of other reproductions.
      claim = [
        row for row in paper_comparison.paper_differences(net, measured[net.key]) if row["claim"] == "test error"
      ][-1]
      found.append(TrainedNetwork(study, logs, net, share, measured[net.key], claim))
  return found
