"""Similarity of layers: linear CKA between all blocks of a network, and with those of another, as heat maps."""

import numpy as np
import pandas as pd
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from resjax import study_records
from resjax.analysis import formats, plotting, style
from resjax.analysis.curves import last_capture
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import Section, plotted_networks, study_commands
from resjax.analysis.separation import layer_lines

_NORM = Normalize(0, 1)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no CKA was recorded."""
  lines = last_capture(logs.studies["cka"])
  if lines.empty:
    return None
  panels, rows = [], []
  places = layer_lines(logs)
  for net in plotted_networks(logs, lines):
    own = lines[lines["net"] == net.key]
    own = own[own["id"] == own["id"].iloc[0]]  # the first seed
    for other, matrix in own.groupby(own["other"].fillna(""), sort=True):
      values = _matrix(matrix)
      label = _label(logs, str(other))
      panels.append(_panel(logs, net, str(other), matrix, values, places))
      rows.append((net.label, label or net.label, *values.shape, int(matrix["tile"].iloc[0]), values[-1, -1]))
  data = pd.DataFrame(rows, columns=["label", "other", "rows", "columns", "tile", "last_with_last"])
  return Section(
    key="cka",
    title="Similarity of layers",
    findings=_findings(logs, places, data),
    caption="Linear CKA of globally pooled features (unbiased HSIC over minibatches; Nguyen et al., 2021), 1 where two "
    "blocks hold the same up to rotation and scale. Block 0 is the input of the first block; white lines part the "
    "stages. Bright squares along the diagonal are blocks that change little. Very deep networks are drawn as means "
    "over neighbouring blocks.",
    panels=tuple(panels),
    data={"cka": data},
    commands=study_commands(logs, "layers"),
  )


def _matrix(lines: pd.DataFrame) -> np.ndarray:
  """Returns the matrix of one pair of runs; if it was made with several settings, the first one counts."""
  rows = lines.drop_duplicates("first").sort_values("first")["values"]
  return np.array([[np.nan if value is None else value for value in row] for row in rows], "float64")


def _panel(
  logs: Logs, net: Network, other: str, lines: pd.DataFrame, values: np.ndarray, places: pd.DataFrame
) -> Panel:
  label = _label(logs, other)
  edges = []
  for count, tile in zip(values.shape, (lines["tile"].iloc[0], lines["other_tile"].iloc[0]), strict=True):
    edges.append([float(int(tile) * at) - 0.5 for at in range(count + 1)])
  with style.panel() as (figure, axes):
    plotting.heat_map(axes, edges[1], edges[0], np.clip(values, 0, 1), _NORM, "CKA")
    own = lines["id"].iloc[0]
    for place in _stage_starts(places, own):
      axes.axhline(place - 0.5, color="white", linewidth=0.6)
    for place in _stage_starts(places, other or own):
      axes.axvline(place - 0.5, color="white", linewidth=0.6)
    for axis in (axes.xaxis, axes.yaxis):
      axis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_aspect("auto" if other else "equal")
    axes.set_xlabel(f"block of {label}" if label else "block")
    axes.set_ylabel(f"block of {net.label}" if label else "block")
    axes.set_title(f"{net.label} and {label}" if label else net.label)
    name = f"cka-{net.key}-{other}" if other else f"cka-{net.key}"
    words = f"the blocks of {net.label} and those of {label}" if label else f"all blocks of {net.label}"
    return Panel(name, style.to_svg(figure), f"Linear CKA between {words}, as colours.")


def _stage_starts(places: pd.DataFrame, run: str) -> list[int]:
  """Returns the position of each stage's first block but the first stage's, of a run."""
  own = places[(places["id"] == run) & (places["block"] == 1) & (places["stage"] > 1)]
  return [int(position) for position in own["position"]]


def _label(logs: Logs, run: str) -> str:
  """Returns the label of the network of a run, with its seed where there are several; its id if it is not here."""
  if not run:
    return ""
  found = logs.runs[logs.runs["id"] == run]
  if found.empty:
    return run
  net, seed = found["net"].iloc[0], found["seed"].iloc[0]
  several = (logs.runs["net"] == net).sum() > 1
  return f"{logs.labels[net]}, seed {formats.count(seed)}" if several else logs.labels[net]


def _findings(logs: Logs, places: pd.DataFrame, pairs: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  for net in plotted_networks(logs, places):
    own = places[places["net"] == net.key].groupby("position")["cka_previous"].mean().dropna()
    alike = int((own > study_records.SIMILAR_CKA).sum())
    sentences.append(
      f"{net.label}: {alike} of {len(own)} blocks have a CKA above {study_records.SIMILAR_CKA} with the previous "
      "position."
    )
  for row in pairs[pairs["label"] != pairs["other"]].to_dict("records"):
    sentences.append(
      f"The last blocks of {row['label']} and {row['other']} have a CKA of {formats.number(row['last_with_last'])}."
    )
  return tuple(sentences)
