"""Networks at initialization beside theory: growth of gradients and signal, shattering of gradients. Needs scipy."""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from resjax.analysis import linear_fit
from resjax.analysis.curves import last_capture
from resjax.analysis.logs import Logs
from resjax.analysis.seed_statistics import interval

GROWTH = math.pi / (math.pi - 1)  # of the squared gradient norm per layer of ReLU and batch norm, without shortcuts
LEAST_COSINE = 0.01  # below, the mean cosine of a few hundred gradients is noise

GRADIENT, COSINE, DECAY, VARIANCE = "gradient growth", "cosine per block", "decay of the cosine", "growth of variance"
_COLUMNS = ["label", "kind", "depth", "net", "runs", "quantity", "measured", "low", "high", "theory"]


@dataclasses.dataclass(frozen=True)
class Prediction:
  """What theory says of a quantity, and how it is measured.

  Attributes:
    quantity: `GRADIENT`, `COSINE`, `DECAY` or `VARIANCE`.
    theory: Predicted value.
  """

  quantity: str
  theory: float


def init_lines(logs: Logs) -> pd.DataFrame:
  """Returns the lines of the study of networks at initialization.

  If a net was studied with several settings, the first one counts.
  """
  lines = last_capture(logs.studies["init"])
  first = lines.drop_duplicates("net")[["net", "images", "draw_seed"]]
  return lines.merge(first, on=["net", "images", "draw_seed"]).drop_duplicates(["id", "position"])


def predictions(settings: Mapping[str, Any], layers_per_block: int) -> list[Prediction]:
  """Returns what theory says of a network with ReLU and He's initialization, without stochastic depth.

  - Plain, with batch norm: the squared gradient norm grows by pi / (pi - 1) per layer towards the input. ReLU halves
    it, He's weights double it, and batch norm divides it by the variance of its input, 1 - 1 / pi; cf. Yang et al.
    (ICLR 2019, arXiv 1902.08129).
  - Without normalization the correlation of two images' gradients halves in each layer of a plain network; a residual
    block of m layers keeps (1 + 2^-m) / 2 of it, 3/4 at m = 1 (Balduzzi et al., ICML 2017, arXiv 1702.08591).
  - Residual, with batch norm: it falls as l^(-1/2) in the number l of blocks above (ibid.).
  - Pre-activation, with batch norm: each block adds the same to the variance, so that within a stage it is a straight
    line (Brock et al., ICLR 2021, arXiv 2101.08692).

  Args:
    settings: Settings of the network by dotted key.
    layers_per_block: Number of layers of a block's main branch.
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
  plain, normed = settings["model.kind"] == "plain", settings.get("model.norm", "batch") == "batch"
  if plain:
    return [Prediction(GRADIENT, GROWTH) if normed else Prediction(COSINE, 2.0**-layers_per_block)]
  if not normed:
    return [Prediction(COSINE, (1 + 2.0**-layers_per_block) / 2)]
  found = [Prediction(DECAY, -0.5)]
  return [*found, Prediction(VARIANCE, 1.0)] if settings.get("model.preactivation") else found


def measure(quantity: str, run: pd.DataFrame) -> tuple[float, float, float] | None:
  """Measures a quantity in the lines of one run.

  Args:
    quantity: `GRADIENT`: factor of the squared gradient norm per layer, from a line through its logarithm. `COSINE`:
      factor of the mean cosine of gradients per block, likewise, from the last block down to `LEAST_COSINE`. `DECAY`:
      exponent of the mean cosine in the number of blocks above, likewise. `VARIANCE`: correlation of the variance of a
      block's input with the block's number, the least of the stages.
    run: Lines of the run.

  Returns:
    The value, and the interval of the fit; None with too few blocks.
  """
  run = run.sort_values("position")
  if quantity == GRADIENT:
    known = run[run["gradient_norm"] > 0]
    line = linear_fit.fit(_floats(known["layers_above"]), _floats(2 * np.log(known["gradient_norm"])))
    return _exponentials(line) if line else None
  if quantity == VARIANCE:
    lines = [linear_fit.fit(_floats(own["block"]), _floats(own["input_variance"])) for own in _within_stages(run)]
    known_lines = [line.correlation for line in lines if line]
    return (min(known_lines), math.nan, math.nan) if known_lines else None
  reversed_cosines = run["gradient_cosine"].iloc[::-1]
  clear = list(itertools.takewhile(lambda cosine: cosine > LEAST_COSINE, reversed_cosines))
  blocks = [float(above) for above in range(1, len(clear) + 1)]
  if quantity == COSINE:
    line = linear_fit.fit(blocks, _floats(np.log(clear)))
    return _exponentials(line) if line else None
  line = linear_fit.fit(_floats(np.log(blocks)), _floats(np.log(clear)))
  return (line.slope, line.low, line.high) if line else None


def beside_theory(logs: Logs) -> pd.DataFrame:
  """Measures what theory speaks of, for each network.

  Returns:
    label, kind, depth, net, runs, quantity, measured (mean over seeds), low and high (95% interval over seeds; of a
    single one that of the fit), theory.
  """
  lines, rows = init_lines(logs), []
  for net in logs.networks:
    own = lines[lines["net"] == net.key]
    if own.empty:
      continue
    chosen = logs.settings[logs.settings["id"] == own["id"].iloc[0]].set_index("key")["value"].to_dict()
    for each in predictions(chosen, int(own["layers_above"].min())):
      found = [value for _, run in own.groupby("id") if (value := measure(each.quantity, run)) is not None]
      if not found:
        continue
      values = [value for value, _, _ in found]
      low, high = interval(values) if len(values) > 1 else found[0][1:]
      measured = float(np.mean(values))
      rows.append(
        (net.label, net.kind, net.depth, net.key, len(found), each.quantity, measured, low, high, each.theory)
      )
  return pd.DataFrame(rows, columns=_COLUMNS).astype({"depth": "Int64"})


def theory_curve(quantity: str, theory: float, run: pd.DataFrame) -> list[float] | None:
  """Returns what theory predicts for each block of a run, in the order of its lines, from what is measured at the last.

  Args:
    quantity: `GRADIENT`, of the gradient norm, `COSINE` or `DECAY`, of the mean cosine; another has no curve.
    theory: Predicted value.
    run: Lines of the run, sorted by position.
  """
  last = run.iloc[-1]
  above = np.array(_floats(last["position"] - run["position"]))
  if quantity == GRADIENT:
    layers = np.array(_floats(run["layers_above"] - last["layers_above"]))
    return list(last["gradient_norm"] * theory ** (layers / 2))
  if quantity == COSINE:
    return list(last["gradient_cosine"] * theory**above)
  return list(last["gradient_cosine"] * (above + 1) ** theory) if quantity == DECAY else None


def _within_stages(run: pd.DataFrame) -> Iterator[pd.DataFrame]:
  """Yields the lines of each stage but its first block, whose input is another stage's."""
  for _, own in run[run["block"] > 1].groupby("stage"):
    yield own


def _exponentials(line: linear_fit.Line) -> tuple[float, float, float]:
  return math.exp(line.slope), math.exp(line.low), math.exp(line.high)


def _floats(values: Any) -> list[float]:
  return [float(value) for value in values]
