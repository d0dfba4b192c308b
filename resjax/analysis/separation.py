"""The separation law: the separation of the classes against the block (He and Su, PNAS 2023). Needs scipy."""

import math

import numpy as np
import pandas as pd

from resjax import study_records
from resjax.analysis import linear_fit, study_lines
from resjax.analysis.logs import Logs
from resjax.analysis.seed_statistics import interval

MAX_CORRELATION = -0.9  # of log D with the block, if the law holds

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "not decided"

_COLUMNS = [
  *("label", "kind", "depth", "net", "runs", "blocks", "correlation", "slope", "low", "high", "fall", "law"),
  *("alike", "nearest_mean_error", "ridge_error", "head_error", "alignment"),
]


def layer_lines(logs: Logs) -> pd.DataFrame:
  """Returns the lines of the study of layers at the last step, with one choice of settings for each network.

  Returns:
    The columns of `logs.studies["layers"]` and log_separation (missing where the separation D is not positive).
  """
  lines = study_lines.of_last_step(logs, "layers").drop_duplicates(["id", "position"])
  return lines.assign(log_separation=np.log(lines["separation"].where(lines["separation"] > 0)))


def separation_law(logs: Logs) -> pd.DataFrame:
  """Fits log D = intercept + slope * block to the mean over seeds of each network.

  Seeds with too few blocks of known D for a fit are left out.

  Returns:
    Columns label, kind, depth, net, runs (number of fitted seeds), blocks, correlation (of log D with the block),
    slope, low and high (95% confidence interval of the slope over seeds; with one seed from the residuals of the
    blocks), fall (decrease of log D from the first block's input to the last block), law (`FAILS` if the correlation is
    above `MAX_CORRELATION`; otherwise `HOLDS` if the interval is below zero, and `UNDECIDED` if it is not, for too few
    seeds or blocks), alike (mean number of blocks whose CKA with the block before is above
    `study_records.SIMILAR_CKA`), nearest_mean_error, ridge_error and head_error (after the last block), and alignment
    (mean over blocks).
  """
  lines, rows = layer_lines(logs), []
  for net in logs.networks:
    fits = {run: linear_fit.fit(*_points(part)) for run, part in lines[lines["net"] == net.key].groupby("id")}
    seeds = {run: line for run, line in fits.items() if line is not None}
    of_net = lines[lines["id"].isin(list(seeds))]
    curve = of_net.groupby("position")["log_separation"].mean().dropna()
    fitted = linear_fit.fit([float(position) for position in curve.index], list(curve))
    if fitted is None:
      continue
    low, high = interval([line.slope for line in seeds.values()]) if len(seeds) > 1 else (fitted.low, fitted.high)
    last = of_net[of_net["position"] == of_net["position"].max()]
    linear = not math.isnan(fitted.correlation) and fitted.correlation <= MAX_CORRELATION
    law = FAILS if not linear else HOLDS if high < 0 else UNDECIDED
    alike = (of_net["cka_previous"] > study_records.SIMILAR_CKA).sum() / len(seeds)
    rows.append(
      (
        *(net.label, net.kind, net.depth, net.key, len(seeds), int(of_net["position"].max())),
        *(fitted.correlation, fitted.slope, low, high, curve.iloc[0] - curve.iloc[-1], law, alike),
        *(last[column].mean() for column in ("nearest_mean_error", "ridge_error", "head_error")),
        of_net["alignment"].mean(),
      )
    )
  return pd.DataFrame(rows, columns=_COLUMNS).astype({"depth": "Int64"})


def _points(run: pd.DataFrame) -> tuple[list[float], list[float]]:
  """Returns positions and log D of the blocks of a run whose D is known."""
  known = run.dropna(subset=["log_separation"])
  return [float(position) for position in known["position"]], list(known["log_separation"])
