"""The networks of an experiment: their labels in tables and figures, and what their curves share a colour by."""

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
    kind: "plain", "residual", the name of another family, or "other" where the records do not say.
    depth: Number of counted layers; None where the records do not say.
    shortcut: Shortcut option; None for a plain network.
    label: Name for a reader ("ResNet-56"), with the shortcut and the swept setting where several are compared.
    series: What decides the colour: the depth where the experiment has several, otherwise the label without the kind.
    variant: Position among the networks of the same kind and colour, from 0; decides the dashes.
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
  """Groups runs into networks and labels them, in the order of the frame (plain first, then by depth).

  Args:
    runs: The `runs` frame of `Logs`.

  Raises:
    ValueError: Two runs have the same id.
  """
  check_unique_ids(runs)
  first = runs.drop_duplicates("net")
  several_shortcuts = len(first["shortcut"].dropna().unique()) > 1
  several_depths = len(first["depth"].dropna().unique()) > 1
  seen: dict[tuple[str, str], int] = {}
  result = []
  for row in first.to_dict("records"):
    kind = "other" if pd.isna(row["kind"]) else str(row["kind"])
    depth = None if pd.isna(row["depth"]) else int(row["depth"])
    shortcut = None if pd.isna(row["shortcut"]) else str(row["shortcut"])
    if depth is None:
      label = series = row["net"]
    else:
      setting = re.sub(rf"^.*?-d{depth}(-|$)", "", row["net"])
      parts = [str(depth), shortcut if several_shortcuts else None, setting]
      name = " ".join(part for part in parts if part)
      label = f"{NAMES.get(kind, kind)}-{name}"
      series = str(depth) if several_depths else name
    variant = seen.get((kind, series), 0)
    seen[kind, series] = variant + 1
    result.append(Network(row["net"], kind, depth, shortcut, label, series, variant))
  return result


def check_unique_ids(runs: pd.DataFrame) -> None:
  """Raises ValueError if two runs have the same id, as runs of two experiments may."""
  twice = runs[runs["id"].duplicated()]
  if len(twice):
    raise ValueError(f"two runs are called {twice['id'].iloc[0]}: load one experiment's directory at a time")


def key_without_depth(key: str) -> str:
  """Removes the depth from a network's key: networks that share the rest differ only in depth."""
  return re.sub(r"-d\d+", "", key, count=1)


def series_order(networks: Iterable[Network]) -> list[str]:
  """Lists every series once, shallow before deep."""
  return [name for _, name in sorted({(net.depth or 0, net.series) for net in networks})]
