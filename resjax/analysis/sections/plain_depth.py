"""Test error against depth for plain networks by initialization, activation and normalization."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax import records
from resjax.analysis import formats, plotting, seed_statistics, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import NAMES
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import Column, Section, Table, run_commands

PAIR = (20, 56)  # depths of the paper's Fig. 1, which are compared if there are networks of both
_CONFIGURATION = ["kind", "norm", "initialization", "activation"]
_DEFAULTS = {"norm": "batch", "initialization": "he", "activation": "relu"}
_WORDS = {
  **{"batch": "batch norm", "none": "no norm", "layer": "layer norm"},
  **{"he": "He", "depth": "He by depth", "relu": "ReLU", "tailored": "tailored leaky ReLU", "leaky_relu": "leaky ReLU"},
}


def build(logs: Logs) -> Section | None:
  """Builds the section; None unless plain networks of at least two configurations have finished at two depths.

  A configuration is a kind, normalization, initialization and activation.
  """
  runs = _runs(logs)
  plain = runs[runs["kind"] == "plain"]
  depths = plain.groupby("start")["depth"].nunique()
  if (depths >= 2).sum() < 2:
    return None
  shallow, deep = PAIR if set(PAIR) <= set(plain["depth"]) else (int(plain["depth"].min()), int(plain["depth"].max()))
  errors = _errors(runs)
  differences = pd.DataFrame(
    _difference(start, part, shallow, deep) for start, part in runs.groupby("start", sort=False)
  )
  columns = [int(depth) for depth in sorted(runs["depth"].unique())]
  table = Table(
    f"Test error in percent by depth, mean ± standard deviation over seeds, and that of {deep} layers minus that of "
    f"{shallow} in points.",
    (
      *(Column("network", number=False), *(Column(str(depth), "layers") for depth in columns)),
      *(Column(f"{deep} − {shallow}", "points"), Column(f"{seed_statistics.LEVEL:.0%} interval", "over seeds")),
      Column("seeds"),
    ),
    [_row(row, errors, columns) for row in differences.to_dict("records")],
  )
  return Section(
    key="plain-depth",
    title="Plain networks by initialization and activation",
    findings=tuple(_sentence(row) for row in differences.dropna(subset=["difference"]).to_dict("records")),
    caption="Delta and orthogonal initialization start each layer as a rotation of its channels; the tailored leaky "
    "ReLU and critical tanh are chosen so that signals pass all layers at the start (Zhang et al., 2022; Xiao et al., "
    "2018). Learning rates may differ between configurations, so their errors compare recipes; "
    "differences with depth within one configuration compare depths.",
    panels=(_panel(errors),),
    tables=(table,),
    data={"plain_depth": errors, "plain_depth_differences": differences},
    commands=run_commands(logs),
  )


def _runs(logs: Logs) -> pd.DataFrame:
  """Returns the finished runs with their configuration, and a description of it in the column start."""
  names = {f"model.{key}": key for key in _DEFAULTS}
  known = logs.settings[logs.settings["key"].isin(list(names))]
  values = known.assign(key=known["key"].map(names)).pivot_table(
    index="id", columns="key", values="value", aggfunc="last"
  )
  done = logs.runs[(logs.runs["status"] == records.DONE) & logs.runs["test_error"].notna() & logs.runs["depth"].notna()]
  settings = values.reindex(columns=list(_DEFAULTS)).astype("object")  # a column of missing values takes no text
  runs = done[["id", "kind", "depth", "seed", "test_error"]].join(settings, on="id")
  runs = runs.fillna(_DEFAULTS)
  words = [
    ", ".join(_WORDS.get(value, NAMES.get(value, value)) for value in row) for row in runs[_CONFIGURATION].to_numpy()
  ]
  return runs.assign(start=words)


def _errors(runs: pd.DataFrame) -> pd.DataFrame:
  """Returns columns start, kind, depth, mean and spread (of the test error over seeds; fractions), and runs."""
  grouped = runs.groupby(["start", "kind", "depth"], sort=False)["test_error"]
  return grouped.agg(mean="mean", spread="std", runs="count").reset_index()


def _difference(start: Any, runs: pd.DataFrame, shallow: int, deep: int) -> dict[str, Any]:
  """Returns the test errors at two depths and their difference, over the seeds that have finished at both."""
  by_seed = (
    runs.pivot_table(index="seed", columns="depth", values="test_error").reindex(columns=[shallow, deep]).dropna()
  )
  differences = [float(value) for value in by_seed[deep] - by_seed[shallow]]
  low, high = seed_statistics.interval(differences)
  return {
    **{"start": start, "shallow": shallow, "deep": deep, "seeds": len(differences)},
    **{"shallow_error": by_seed[shallow].mean(), "deep_error": by_seed[deep].mean()},
    **{"difference": sum(differences) / len(differences) if differences else math.nan, "low": low, "high": high},
  }


def _sentence(row: Mapping[Any, Any]) -> str:
  detail = "one seed" if row["seeds"] == 1 else f"{row['seeds']} seeds"
  if not pd.isna(row["low"]):
    low, high = (formats.signed(100 * row[side], 1) for side in ("low", "high"))
    detail = f"{seed_statistics.LEVEL:.0%} interval {low} to {high}, {detail}"
  return (
    f"{row['start']}: test error {formats.percent(row['shallow_error'])} % at {row['shallow']} layers and "
    f"{formats.percent(row['deep_error'])} % at {row['deep']}, a difference of "
    f"{formats.signed(100 * row['difference'], 1)} points ({detail})."
  )


def _row(row: Mapping[Any, Any], errors: pd.DataFrame, depths: list[int]) -> list[str]:
  by_depth = errors[errors["start"] == row["start"]].set_index("depth")
  interval = f"{formats.signed(100 * row['low'])} to {formats.signed(100 * row['high'])}"
  return [
    str(row["start"]),
    *(
      formats.percent(by_depth.loc[depth, "mean"], by_depth.loc[depth, "spread"])
      if depth in by_depth.index
      else formats.MISSING
      for depth in depths
    ),
    formats.signed(100 * row["difference"]),
    *(formats.MISSING if pd.isna(row["low"]) else interval, formats.count(row["seeds"])),
  ]


def _panel(errors: pd.DataFrame) -> Panel:
  """Draws the test error of each configuration against depth."""
  starts = list(dict.fromkeys(errors["start"]))
  colors = style.series_colors(starts)
  with style.panel() as (figure, axes):
    for start in starts:
      curve = errors[errors["start"] == start].sort_values("depth")
      dashes = plotting.DASHED if curve["kind"].iloc[0] == "plain" else plotting.SOLID
      heights, bars = ((100 * curve[key]).fillna(0).tolist() for key in ("mean", "spread"))
      look: dict[str, Any] = {"color": colors[start], "linestyle": dashes, "marker": "o", "markersize": 4}
      axes.errorbar(curve["depth"].tolist(), heights, yerr=bars, label=start, **look)
    plotting.log_integer_axis(axes, errors["depth"], "depth")
    axes.set_ylim(0, None)
    axes.set_ylabel("test error (%)")
    axes.set_title("Test error by depth")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8)
    return Panel("plain-depth", style.to_svg(figure), f"Test error in percent against depth for: {'; '.join(starts)}.")
