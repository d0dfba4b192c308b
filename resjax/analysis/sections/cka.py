"""Similarity of layers: linear CKA between the blocks of a network, or of two networks, as heat maps."""

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from resjax import study_records
from resjax.analysis import formats, plotting, study_lines, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import Section, plotted_networks, study_commands
from resjax.analysis.separation import layer_lines

_NORM = Normalize(0, 1)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no CKA was recorded."""
  lines = study_lines.last_capture(logs.studies["cka"])
  if lines.empty:
    return None
  panels, rows = [], []
  positions = layer_lines(logs)
  for net in plotted_networks(logs, lines):
    of_net = lines[lines["net"] == net.key]
    first_seed = of_net[of_net["id"] == of_net["id"].iloc[0]]
    for other, of_pair in first_seed.groupby(first_seed["other"].fillna(""), sort=True):
      matrix = study_lines.common_settings(of_pair, study_lines.SETTINGS["cka"])
      values = _matrix(matrix)
      label = _label(logs, str(other))
      panels.append(_panel(logs, net, str(other), matrix, values, positions))
      rows.append((net.label, label or net.label, *values.shape, int(matrix["tile"].iloc[0]), values[-1, -1]))
  data = pd.DataFrame(rows, columns=["label", "other", "rows", "columns", "tile", "last_with_last"])
  return Section(
    key="cka",
    title="Similarity of layers",
    findings=_findings(logs, positions, data),
    caption="Linear CKA of globally pooled features (unbiased HSIC over minibatches; Nguyen et al., 2021), 1 if the "
    "features of two blocks are equal up to rotation and scale. Block 0 is the input of the first block; white lines "
    "separate the stages. Bright squares along the diagonal are blocks that change the features little. Very deep "
    "networks are drawn as means over neighboring blocks.",
    panels=tuple(panels),
    data={"cka": data},
    commands=study_commands(logs, "layers"),
  )


def _matrix(lines: pd.DataFrame) -> np.ndarray:
  """Returns the matrix of one pair of runs from its lines with one choice of settings."""
  rows = lines.drop_duplicates("first").sort_values("first")["values"]
  return np.array([[np.nan if value is None else value for value in row] for row in rows], "float64")


def _panel(
  logs: Logs, net: Network, other: str, lines: pd.DataFrame, values: np.ndarray, positions: pd.DataFrame
) -> Panel:
  label = _label(logs, other)
  edges = []
  for count, tile in zip(values.shape, (lines["tile"].iloc[0], lines["other_tile"].iloc[0]), strict=True):
    edges.append([float(int(tile) * at) - 0.5 for at in range(count + 1)])
  with style.panel() as (figure, axes):
    plotting.heat_map(axes, edges[1], edges[0], np.clip(values, 0, 1), _NORM, "CKA")
    own = lines["id"].iloc[0]
    for position in _stage_starts(positions, own):
      axes.axhline(position - 0.5, color="white", linewidth=0.6)
    for position in _stage_starts(positions, other or own):
      axes.axvline(position - 0.5, color="white", linewidth=0.6)
    for axis in (axes.xaxis, axes.yaxis):
      axis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_aspect("auto" if other else "equal")
    axes.set_xlabel(f"block of {label}" if label else "block")
    axes.set_ylabel(f"block of {net.label}" if label else "block")
    axes.set_title(f"{net.label} and {label}" if label else net.label)
    name = f"cka-{net.key}-{other}" if other else f"cka-{net.key}"
    words = f"the blocks of {net.label} and those of {label}" if label else f"all blocks of {net.label}"
    return Panel(name, style.to_svg(figure), f"Linear CKA between {words}, as colors.")


def _stage_starts(positions: pd.DataFrame, run: str) -> list[int]:
  """Returns the positions of the first blocks of all stages but the first, for one run."""
  first = positions[(positions["id"] == run) & (positions["block"] == 1) & (positions["stage"] > 1)]
  return [int(position) for position in first["position"]]


def _label(logs: Logs, run: str) -> str:
  """Returns the label of a run's network, with the seed if there are several; the id if the run is not in the logs."""
  if not run:
    return ""
  rows = logs.runs[logs.runs["id"] == run]
  if rows.empty:
    return run
  net, seed = rows["net"].iloc[0], rows["seed"].iloc[0]
  several = (logs.runs["net"] == net).sum() > 1
  return f"{logs.labels[net]}, seed {formats.count(seed)}" if several else logs.labels[net]


def _findings(logs: Logs, positions: pd.DataFrame, pairs: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for net in plotted_networks(logs, positions):
    cka = positions[positions["net"] == net.key].groupby("position")["cka_previous"].mean().dropna()
    alike = int((cka > study_records.SIMILAR_CKA).sum())
    sentences.append(
      f"{net.label}: {alike} of {len(cka)} blocks have a CKA above {study_records.SIMILAR_CKA} with the previous "
      "position."
    )
  for row in pairs[pairs["label"] != pairs["other"]].to_dict("records"):
    sentences.append(
      f"The last blocks of {row['label']} and {row['other']} have a CKA of {formats.number(row['last_with_last'])}."
    )
  return tuple(sentences)
