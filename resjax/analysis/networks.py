"""The nets of an experiment: what tables and figures call them, and what they share a colour by."""

import dataclasses
import re

import pandas as pd

NAMES = {"plain": "plain", "residual": "ResNet"}


@dataclasses.dataclass(frozen=True)
class Network:
  """All runs that differ in nothing but the seed.

  Attributes:
    key: the run id without its seed, as in the `net` column of every frame.
    label: what a reader calls it ("ResNet-56"), with the shortcut where several are compared and
      the swept setting where there is one.
    series: the label without the kind of net: a plain and a residual net of one depth share it,
      and with it their colour.
  """

  key: str
  kind: str
  depth: int | None
  shortcut: str | None
  label: str
  series: str


def label_networks(runs: pd.DataFrame) -> list[Network]:
  """The nets of the `runs` frame in its order (plain before residual, shallow before deep).

  Raises:
    ValueError: two runs have one id.
  """
  check_unique_ids(runs)
  first = runs.drop_duplicates("net")
  shortcuts = first["shortcut"].dropna().nunique()
  result = []
  for row in first.to_dict("records"):
    kind = "other" if pd.isna(row["kind"]) else str(row["kind"])
    depth = None if pd.isna(row["depth"]) else int(row["depth"])
    shortcut = None if pd.isna(row["shortcut"]) else str(row["shortcut"])
    if depth is None:
      label = series = row["net"]
    else:
      setting = re.sub(rf"^.*?-d{depth}(-|$)", "", row["net"])
      parts = [str(depth), shortcut if shortcuts > 1 else None, setting]
      series = " ".join(part for part in parts if part)
      label = f"{NAMES.get(kind, kind)}-{series}"
    result.append(Network(row["net"], kind, depth, shortcut, label, series))
  return result


def check_unique_ids(runs: pd.DataFrame) -> None:
  """Raises ValueError where two runs have one id, as runs of two experiments may: they would be taken for one."""
  twice = runs[runs["id"].duplicated()]
  if len(twice):
    raise ValueError(f"two runs are called {twice['id'].iloc[0]}: load one experiment's directory at a time")


def key_without_depth(key: str) -> str:
  """The key of a net without its depth: nets that share it are alike in everything else."""
  return re.sub(r"-d\d+", "", key, count=1)


def series_order(nets: list[Network]) -> list[str]:
  """Every series once, shallow before deep."""
  return [name for _, name in sorted({(net.depth or 0, net.series) for net in nets})]
