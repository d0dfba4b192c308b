"""Networks of an experiment: grouping of runs by network, labels for tables and figures, color groups."""

import dataclasses
import re
from collections.abc import Iterable

import pandas as pd

NAMES = {"plain": "plain", "residual": "ResNet"}


@dataclasses.dataclass(frozen=True)
class Network:
  """All runs that differ only in the seed.

  Attributes:
    key: Run id without its seed, as in the `net` column of every frame.
    kind: "plain", "residual", the name of another family, or "other" if the records have no kind.
    depth: Number of counted layers; None if the records have no depth.
    shortcut: Shortcut option; None for a plain network.
    label: Name in tables and figures ("ResNet-56"), with the shortcut and the settings in which networks differ.
    series: Color group: the depth if the experiment has several depths, otherwise the label without the kind.
    variant: Index among the networks of the same kind and series, from 0; determines the line style.
  """

  key: str
  kind: str
  depth: int | None
  shortcut: str | None
  label: str
  series: str
  variant: int

  @property
  def name(self) -> str:
    """The label without the kind, for a figure that shows one kind only."""
    return self.label.removeprefix(f"{NAMES.get(self.kind, self.kind)}-")


def label_networks(runs: pd.DataFrame) -> list[Network]:
  """Groups runs into networks and labels them.

  Args:
    runs: The `runs` frame of `Logs`.

  Returns:
    The networks in the order of the frame: plain before residual, shallow before deep.

  Raises:
    ValueError: Two runs have the same id.
  """
  check_unique_ids(runs)
  first = runs.drop_duplicates("net")
  several_shortcuts = len(first["shortcut"].dropna().unique()) > 1
  several_depths = len(first["depth"].dropna().unique()) > 1
  settings = {row["net"]: swept_settings(row["net"], row["depth"]) for row in first.to_dict("records")}
  shared = set.intersection(*map(set, settings.values())) if len(settings) > 1 else set()
  seen: dict[tuple[str, str], int] = {}
  result = []
  for row in first.to_dict("records"):
    kind = "other" if pd.isna(row["kind"]) else str(row["kind"])
    depth = None if pd.isna(row["depth"]) else int(row["depth"])
    shortcut = None if pd.isna(row["shortcut"]) else str(row["shortcut"])
    if depth is None:
      label = series = row["net"]
    else:
      setting = "-".join(each for each in settings[row["net"]] if each not in shared)
      parts = [str(depth), shortcut if several_shortcuts else None, setting]
      name = " ".join(part for part in parts if part)
      label = f"{NAMES.get(kind, kind)}-{name}"
      series = str(depth) if several_depths else name
    variant = seen.get((kind, series), 0)
    seen[kind, series] = variant + 1
    result.append(Network(row["net"], kind, depth, shortcut, label, series, variant))
  return result


def swept_settings(key: str, depth: float | None) -> list[str]:
  """Returns the settings in the key of a network after its depth, such as "learning_rate_1e-05"; [] without a depth."""
  if depth is None or pd.isna(depth):
    return []
  rest = re.sub(rf"^.*?-d{int(depth)}(-|$)", "", key)
  return re.split("-(?=[a-z])", rest) if rest else []


def check_unique_ids(runs: pd.DataFrame) -> None:
  """Raises ValueError if two runs have the same id, which happens if the logs of two experiments are mixed."""
  duplicates = runs[runs["id"].duplicated()]
  if len(duplicates):
    raise ValueError(f"two runs have the id {duplicates['id'].iloc[0]}: load the directory of one experiment at a time")


def key_without_depth(key: str) -> str:
  """Removes the depth from a network's key, so that networks that differ only in depth get the same key."""
  return re.sub(r"-d\d+", "", key, count=1)


def series_order(networks: Iterable[Network]) -> list[str]:
  """Returns the distinct series of networks, shallow before deep."""
  return [name for _, name in sorted({(net.depth or 0, net.series) for net in networks})]
