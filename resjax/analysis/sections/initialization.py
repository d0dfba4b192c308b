"""Networks at initialization: signal and gradients block by block, compared with theory."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from resjax.analysis import formats, seed_statistics, study_lines
from resjax.analysis.curves import add_labels, summarize_seeds
from resjax.analysis.initialization import COSINE, GRADIENT, VARIANCE, compare_with_theory, init_lines, theory_curve
from resjax.analysis.logs import Logs
from resjax.analysis.sections.section import Column, LineOptions, Section, Table, line_panel, study_commands

_MEASURES = {
  "gradient_norm": ("init-gradient-norm", "Gradient by the block’s input", "gradient norm", True),
  "gradient_cosine": ("init-gradient-cosine", "Correlation of gradients", "mean cosine between images", False),
  "input_variance": ("init-input-variance", "Variance of the block’s input", "mean variance of a channel", True),
  "branch_variance": ("init-branch-variance", "Variance of the main branch", "mean variance of a channel", True),
  "input_squared_mean": ("init-input-mean", "Mean of the block’s input", "mean squared mean of a channel", True),
}
# Subject of the sentence on a quantity, and the theoretical value if it has a closed form.
_SUBJECTS = {
  GRADIENT: ("the squared gradient norm grows per layer, towards the input, by the factor", "π/(π − 1) = 1.467"),
  COSINE: ("the mean cosine between gradients is multiplied per block, towards the input, by the factor", ""),
  VARIANCE: (
    "within a stage, the correlation between the variance of a block’s input and the number of the block is",
    "1 (linear growth)",
  ),
}
AGREES = 0.03  # largest relative difference from theory that counts as agreement
_COLUMNS = (
  *(Column("network", number=False), Column("draws"), Column("quantity", number=False), Column("measured")),
  *(Column("interval", f"{seed_statistics.LEVEL:.0%}", number=False), Column("theory"), Column("difference", "%")),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no network was studied at its initialization."""
  lines = init_lines(logs)
  if lines.empty:
    return None
  theory = compare_with_theory(logs)
  data, panels = {"init_theory": theory}, []
  last = lines.groupby("net")["position"].max()
  for column, (name, title, label, log) in _MEASURES.items():
    known = lines[lines[column].notna() & (np.isfinite(lines[column])) & ((lines[column] > 0) | (not log))]
    if known.empty:
      continue
    curves = add_labels(summarize_seeds(known.groupby(["net", "step", "position"])[column]), logs, ["step", "position"])
    data[f"init_{column}"] = curves
    relative = curves.assign(position=curves["position"] / curves["net"].map(last).astype("float64"))
    labels = (name, title, "relative depth (block / number of blocks)", label)
    options = LineOptions(log=log, references=_theory_curves(lines, theory, column))
    panels.append(line_panel(logs, relative, "position", labels, options))
  findings = tuple(_sentence(row) for row in theory.to_dict("records"))
  rows = [_row(row) for row in theory.to_dict("records")]
  return Section(
    key="init",
    title="Networks at initialization",
    findings=findings or ("No theory is known here for these networks; the figures show the measurements.",),
    caption="One batch of images with its own statistics, before any training. The gradient is that of a random "
    "projection of the logits. Dotted: theory, extrapolated from the last block. It assumes wide layers of equal size "
    "and independent signals; convolutional networks differ because of strides, padding and changing shapes. Gradients "
    "without correlation between images are called shattered (Balduzzi et al., 2017)."
    + study_lines.settings_note(logs, lines, study_lines.SETTINGS["init"]),
    panels=tuple(panels),
    tables=(Table("Measurements and theory.", _COLUMNS, rows),) if rows else (),
    data=data,
    commands=study_commands(logs, "init"),
  )


def _theory_curves(
  lines: pd.DataFrame, theory: pd.DataFrame, column: str
) -> dict[str, tuple[list[float], list[float]]]:
  """Returns the theoretical curve of a column for each network, extrapolated in its first draw.

  Returns:
    By network key: positions as a fraction of the blocks, and values.
  """
  curves = {}
  columns = {GRADIENT: "gradient_norm", COSINE: "gradient_cosine"}
  for row in theory[theory["quantity"].map(columns) == column].to_dict("records"):
    of_net = lines[lines["net"] == row["net"]]
    run = of_net[of_net["id"] == of_net["id"].iloc[0]].sort_values("position")
    heights = theory_curve(row["quantity"], row["theory"], run)
    if heights is not None:
      curves[row["net"]] = (run["position"] / run["position"].max()).astype("float64").tolist(), heights
  return curves


def _difference(row: Mapping[Any, Any]) -> float:
  return float(row["measured"] / row["theory"] - 1)


def _sentence(row: Mapping[Any, Any]) -> str:
  subject, theory = _SUBJECTS[row["quantity"]]
  difference = _difference(row)
  verdict = "agree to within" if abs(difference) <= AGREES else "differ by more than"
  return (
    f"{row['label']}: {subject} {formats.number(row['measured'], 3)}; theory predicts "
    f"{theory or formats.number(row['theory'], 3)}; they {verdict} {100 * AGREES:.0f} % (difference "
    f"{formats.signed(100 * difference, 1)} %)."
  )


def _row(row: Mapping[Any, Any]) -> list[str]:
  interval = f"{formats.number(row['low'], 3)} to {formats.number(row['high'], 3)}"
  return [
    *(row["label"], formats.count(row["runs"]), row["quantity"], formats.number(row["measured"], 3)),
    *(formats.MISSING if pd.isna(row["low"]) else interval, formats.number(row["theory"], 3)),
    formats.signed(100 * _difference(row), 1),
  ]
