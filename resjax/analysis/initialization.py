"""Networks at initialization compared with theory: growth of gradients and signal, shattering of gradients.

Needs scipy.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from resjax.analysis import linear_fit, study_lines
from resjax.analysis.logs import Logs
from resjax.analysis.seed_statistics import interval

GROWTH = math.pi / (math.pi - 1)  # of the squared gradient norm per layer of ReLU and batch norm, without shortcuts
MIN_COSINE = 0.01  # below, the mean cosine of a few hundred gradients is noise
# Factors of the shortcut and of the main branch in each block. Option B has projections only where shapes change. The
# study draws no dropout masks, so a shortcut with dropout passes on its expectation.
SHORTCUT_SCALES = {"A": (1.0, 1.0), "B": (1.0, 1.0), "half": (0.5, 1.0), "dropout": (0.5, 1.0), "mean": (0.5, 0.5)}

GRADIENT, COSINE, VARIANCE = "gradient growth", "cosine per block", "growth of variance"
_COLUMNS = ["label", "kind", "depth", "net", "runs", "quantity", "measured", "low", "high", "theory"]


@dataclasses.dataclass(frozen=True)
class Prediction:
  """Theoretical value of a quantity.

  Attributes:
    quantity: `GRADIENT`, `COSINE` or `VARIANCE`, see `measure`.
    theory: Predicted value.
  """

  quantity: str
  theory: float


def init_lines(logs: Logs) -> pd.DataFrame:
  """Returns the lines of the study of networks at initialization, with one choice of settings for each network."""
  return study_lines.of_last_step(logs, "init").drop_duplicates(["id", "position"])


def predictions(settings: Mapping[str, Any], layers_per_block: int) -> list[Prediction]:
  """Returns the theoretical values that are known for a network.

  They assume ReLU, He's initialization and no stochastic depth. For other networks, among them those with gates,
  learned gains or projections in every shortcut, no theory is known here.

  - Plain, with batch norm: the squared gradient norm grows by pi / (pi - 1) per layer towards the input. ReLU halves
    it, He's weights double it, and batch norm divides it by the variance of its input, 1 - 1 / pi; cf. Yang et al.
    (ICLR 2019, arXiv 1902.08129).
  - Plain, without normalization: the correlation between the gradients of two images halves per layer (Balduzzi et al.,
    ICML 2017, arXiv 1702.08591).
  - Pre-activation residual, without normalization: a block that computes s x + b F(x), where F has m layers, multiplies
    the variance of the gradients by s^2 + b^2 and their covariance by s^2 + b^2 2^-m. The correlation is multiplied by
    the quotient, which is (1 + 2^-m) / 2 for identity shortcuts, 3/4 at m = 1 (ibid.).
  - Pre-activation residual, with batch norm and identity shortcuts: each block adds the same to the variance, so it is
    a linear function of the block within a stage (Brock et al., ICLR 2021, arXiv 2101.08692).

  Args:
    settings: Settings of the network by dotted key.
    layers_per_block: Number of layers m of a block's main branch.
  """
  assumed = {
    "activation": "relu",
    "initialization": "he",
    "branch_scale": 0.0,
    "survival": 1.0,
    "zero_init_scale": False,
  }
  if any(settings.get(f"model.{key}", value) != value for key, value in assumed.items()):
    return []
  norm, halved = settings.get("model.norm", "batch"), 2.0**-layers_per_block
  if settings["model.kind"] == "plain":
    known = {"batch": Prediction(GRADIENT, GROWTH), "none": Prediction(COSINE, halved)}
    return [known[norm]] if norm in known else []
  scales = SHORTCUT_SCALES.get(settings.get("model.shortcut", "A"))
  if scales is None or not settings.get("model.preactivation"):
    return []
  if norm == "none":
    shortcut, branch = (scale**2 for scale in scales)
    return [Prediction(COSINE, (shortcut + branch * halved) / (shortcut + branch))]
  return [Prediction(VARIANCE, 1.0)] if norm == "batch" and scales == (1.0, 1.0) else []


def measure(quantity: str, run: pd.DataFrame) -> tuple[float, float, float] | None:
  """Measures a quantity in the lines of one run.

  Args:
    quantity: `GRADIENT`: factor of the squared gradient norm per layer, from a line fitted to its logarithm. `COSINE`:
      factor of the mean cosine of gradients per block, from a line fitted to its logarithm over the last blocks whose
      cosine is above `MIN_COSINE`. `VARIANCE`: correlation of the variance of a block's input with the number of the
      block, the lowest of the stages.
    run: Lines of the run.

  Returns:
    The value and the ends of the interval of the fit; None with too few blocks.
  """
  run = run.sort_values("position")
  if quantity == GRADIENT:
    known = run[run["gradient_norm"] > 0]
    return _growth_factor(known["layers_above"], 2 * np.log(known["gradient_norm"]))
  if quantity == VARIANCE:
    fits = [linear_fit.fit(_floats(rows["block"]), _floats(rows["input_variance"])) for rows in _within_stages(run)]
    correlations = [line.correlation for line in fits if line]
    return (min(correlations), math.nan, math.nan) if correlations else None
  from_output = run["gradient_cosine"].iloc[::-1]
  cosines = list(itertools.takewhile(lambda cosine: cosine > MIN_COSINE, from_output))
  return _growth_factor(range(len(cosines)), np.log(cosines))


def compare_with_theory(logs: Logs) -> pd.DataFrame:
  """Measures the quantities whose theoretical value is known, for each network.

  Returns:
    Columns label, kind, depth, net, runs, quantity, measured (mean over seeds), low and high (95% interval over seeds;
    of a single seed the interval of the fit), theory.
  """
  lines, rows = init_lines(logs), []
  for net in logs.networks:
    of_net = lines[lines["net"] == net.key]
    if of_net.empty:
      continue
    settings = logs.settings_of(of_net["id"].iloc[0])
    for prediction in predictions(settings, int(of_net["layers_above"].min())):
      measured = [value for _, run in of_net.groupby("id") if (value := measure(prediction.quantity, run)) is not None]
      if not measured:
        continue
      values = [value for value, _, _ in measured]
      low, high = interval(values) if len(values) > 1 else measured[0][1:]
      rows.append(
        (
          *(net.label, net.kind, net.depth, net.key, len(values), prediction.quantity, float(np.mean(values))),
          *(low, high, prediction.theory),
        )
      )
  return pd.DataFrame(rows, columns=_COLUMNS).astype({"depth": "Int64"})


def theory_curve(quantity: str, theory: float, run: pd.DataFrame) -> list[float] | None:
  """Extrapolates from the value measured at the last block to all blocks by theory.

  Args:
    quantity: `GRADIENT` for the gradient norm or `COSINE` for the mean cosine.
    theory: Predicted value of the quantity.
    run: Lines of the run, sorted by position.

  Returns:
    The predicted value for each line; None for other quantities.
  """
  last = run.iloc[-1]
  if quantity == GRADIENT:
    layers = np.array(_floats(run["layers_above"] - last["layers_above"]))
    return list(last["gradient_norm"] * theory ** (layers / 2))
  blocks = np.array(_floats(last["position"] - run["position"]))
  return list(last["gradient_cosine"] * theory**blocks) if quantity == COSINE else None


def _within_stages(run: pd.DataFrame) -> Iterator[pd.DataFrame]:
  """Yields the lines of each stage without its first block, whose input comes from another stage."""
  for _, rows in run[run["block"] > 1].groupby("stage"):
    yield rows


def _growth_factor(x: Any, logarithms: Any) -> tuple[float, float, float] | None:
  """Returns the factor by which a quantity grows per unit of `x`, with its interval, from a fit to its logarithms."""
  line = linear_fit.fit(_floats(x), _floats(logarithms))
  return None if line is None else (math.exp(line.slope), math.exp(line.low), math.exp(line.high))


def _floats(values: Any) -> list[float]:
  return [float(value) for value in values]
