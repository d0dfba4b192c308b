"""Information in each layer: separation of the classes, probes, and direction of the features' steps, by block."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from resjax.analysis import formats, seed_statistics, study_lines
from resjax.analysis.curves import add_labels, summarize_seeds
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import (
  Column,
  LineOptions,
  Section,
  Table,
  join_words,
  line_panel,
  plotted_networks,
  study_commands,
)
from resjax.analysis.separation import FAILS, HOLDS, UNDECIDED, layer_lines, separation_law

# By column: name and title of the panel, label, scale, and whether the vertical axis is logarithmic.
_MEASURES = {
  "separation": ("layers-separation", "Separation of the classes", "D = Tr(S_w pinv(S_b))", 1, True),
  "ridge_error": ("layers-ridge", "Linear probe", "test error (%)", 100, False),
  "nearest_mean_error": ("layers-nearest-mean", "Nearest class mean", "test error (%)", 100, False),
  "head_error": ("layers-head", "The network’s own head, last stage", "test error (%)", 100, False),
  "alignment": ("layers-alignment", "Alignment of steps with the stage’s path", "mean cosine", 1, False),
}
_TABLE = (
  "Fit of log D against the block; number of blocks whose CKA with the block before is above 0.95; test errors after "
  "the last block of nearest class mean, linear probe and the network’s own head; alignment."
)
_COLUMNS = (
  *(Column("network", number=False), Column("seeds"), Column("blocks"), Column("correlation", "log D, block")),
  *(Column("factor", "of D per block"), Column("interval", f"{seed_statistics.LEVEL:.0%}", number=False)),
  *(Column("fall", "of log D"), Column("law", number=False), Column("similar", "CKA > 0.95")),
  *(Column(title, "test error, %") for title in ("nearest class mean", "linear probe", "own head")),
  Column("alignment", "mean"),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no layers were studied."""
  lines = layer_lines(logs)
  if lines.empty:
    return None
  law = separation_law(logs)
  data, panels = {"separation_law": law}, []
  for column, (name, title, label, scale, log) in _MEASURES.items():
    known = lines.dropna(subset=[column])
    if known.empty:
      continue
    curves = add_labels(summarize_seeds(known.groupby(["net", "step", "position"])[column]), logs, ["step", "position"])
    data[f"layers_{column}"] = curves
    last = curves["net"].map(lines.groupby("net")["position"].max()).astype("float64")
    relative = curves.assign(position=curves["position"].astype("float64") / last)
    labels = (name, title, "relative depth (block / number of blocks)", label)
    panels.append(line_panel(logs, relative, "position", labels, LineOptions(scale=scale, log=log)))
  findings = _findings(law)
  return Section(
    key="layers",
    title="What layers know",
    findings=findings or tuple(_sentences_without_fit(logs, lines)),
    headlines=findings[:1],
    caption="Globally pooled features at the input of the first block and after every block. D is small where the "
    "classes are well separated; He and Su (2023) found that log D falls linearly with the layer, a straight line "
    "here. The probes are fitted to training images and tested on others. Alignment is the cosine between a block’s "
    "step and the path from the beginning of its stage to the end."
    + study_lines.settings_note(logs, lines, study_lines.SETTINGS["layers"]),
    panels=tuple(panels),
    tables=(Table(_TABLE, _COLUMNS, _rows(law)),) if len(law) else (),
    data=data,
    commands=study_commands(logs, "layers"),
  )


def _rows(law: pd.DataFrame) -> list[list[str]]:
  return [
    [
      *(row["label"], formats.count(row["runs"]), formats.count(row["blocks"]), formats.number(row["correlation"], 3)),
      *(_factor(row["slope"]), f"{_factor(row['low'])} to {_factor(row['high'])}", formats.number(row["fall"], 1)),
      *(row["law"], formats.figures(row["alike"])),
      *(formats.percent(row[column]) for column in ("nearest_mean_error", "ridge_error", "head_error")),
      formats.number(row["alignment"]),
    ]
    for row in law.to_dict("records")
  ]


def _factor(slope: float) -> str:
  return formats.number(np.exp(slope), 3)


def _findings(law: pd.DataFrame) -> tuple[str, ...]:
  rows = law.to_dict("records")
  if not rows:
    return ()
  clauses = [
    f"{words} in {join_words(_correlation(row) for row in rows if row['law'] == law)}"
    for law, words in (
      (HOLDS, "holds"),
      (FAILS, "does not hold"),
      (UNDECIDED, "is not decided, for too few seeds or blocks,"),
    )
    if any(row["law"] == law for row in rows)
  ]
  text = f"The separation law, log D falling linearly with the block, {'; it '.join(clauses)}."
  return (text, *_falls(law), *_pairs(law))


def _correlation(row: Mapping[Any, Any]) -> str:
  return f"{row['label']} (correlation {formats.number(row['correlation'])})"


def _falls(law: pd.DataFrame) -> list[str]:
  """Compares the fall of log D in total and per block, for each kind of network with several depths."""
  sentences = []
  for _, rows in law.groupby("kind", sort=False):
    if len(rows["depth"].dropna().unique()) > 1:
      falls = join_words(formats.number(fall, 1) for fall in rows["fall"])
      factors = join_words(_factor(slope) for slope in rows["slope"])
      labels = join_words(rows["label"])
      sentences.append(f"{labels}: log D falls by {falls} in all, and D by the factor {factors} per block.")
  return sentences


def _pairs(law: pd.DataFrame) -> list[str]:
  """Compares the linear probes of plain and residual networks of the same depth."""
  sentences = []
  by_depth = law.dropna(subset=["depth"]).groupby("depth")
  for _, rows in by_depth:
    plain, residual = (rows[rows["kind"] == kind].to_dict("records") for kind in ("plain", "residual"))
    if len(plain) == len(residual) == 1:
      (one,), (other,) = plain, residual
      sentences.append(
        f"After the last block, a linear probe has a test error of {formats.percent(one['ridge_error'])} % in "
        f"{one['label']} and of {formats.percent(other['ridge_error'])} % in {other['label']}."
      )
  return sentences


def _sentences_without_fit(logs: Logs, lines: pd.DataFrame) -> list[str]:
  return [
    f"{net.label}: too few blocks, or too similar features, for a fit of log D."
    for net in plotted_networks(logs, lines)
  ]
