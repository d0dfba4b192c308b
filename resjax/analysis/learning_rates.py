"""The best learning rate by depth: the optimum of each network over swept rates, and its exponent in the blocks L.

The rate is the one that training applied, learning_rate (L / 9)^rate_scale, and the loss the mean training loss of the
last epoch. Needs scipy.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from resjax import records
from resjax.analysis import power_law, seed_statistics
from resjax.analysis.logs import Logs
from resjax.analysis.networks import key_without_depth
from resjax.depth import Structure

MIN_RATES = 5  # of one network, from which on its runs are a sweep over rates
MIN_DEPTHS = 3  # any two points lie on a line
WINDOW = 2  # rates on each side of the lowest loss that the parabola is fitted to
INSIDE, LOWEST, HIGHEST, UNSTABLE = "measured", "at the lowest rate", "at the highest rate", "no rate is stable"
REFERENCE_BLOCKS = 9  # of ResNet-20, see `train.rate_scale`

_RUNS = [
  *("id", "net", "series", "kind", "depth", "blocks", "seed", "rate", "loss", "status"),
  *("branch_scale", "initialization"),
]
_CURVES = ["series", "depth", "blocks", "rate", "loss", "low", "high", "seeds", "diverged"]
_OPTIMA = ["series", "depth", "blocks", "seed", "rate", "loss", "optimum"]
_EXPONENTS = ["series", "depths", "seeds", "exponent", "low", "high", "rate_at_one", "predicted"]
_SHARPNESS = ["series", "depth", "blocks", "seed", "rate", "eigenvalue", "product"]


def swept_runs(logs: Logs) -> pd.DataFrame:
  """Returns one row per finished or failed run of the networks that were trained at `MIN_RATES` rates or more.

  Returns:
    id, net (without the rate), series (without rate and depth), kind, depth, blocks (L), seed, rate (as applied), loss
    (mean training loss of the last epoch, nats; missing where it was not finite), status, branch_scale, initialization.
  """
  ended = logs.runs[logs.runs["status"].isin([records.DONE, records.FAILED]) & logs.runs["depth"].notna()]
  wanted = ("train.learning_rate", "train.rate_scale", "model.branch_scale", "model.initialization")
  settings = logs.settings[logs.settings["key"].isin(wanted)].pivot_table(
    index="id", columns="key", values="value", aggfunc="first"
  )
  if ended.empty or not set(wanted) <= set(settings.columns):
    return pd.DataFrame(columns=_RUNS)
  runs = ended.set_index("id").join(settings, how="inner").reset_index()
  runs["net"] = runs["net"].map(key_without_rate)
  rates = runs["train.learning_rate"].astype("float64")
  runs = runs[rates.groupby(runs["net"]).transform("nunique") >= MIN_RATES]
  if runs.empty:
    return pd.DataFrame(columns=_RUNS)
  blocks = runs["net"].map({net: _blocks(logs, ids[0]) for net, ids in runs.groupby("net")["id"].unique().items()})
  scale = (blocks / REFERENCE_BLOCKS) ** runs["train.rate_scale"].astype("float64")
  losses = runs["id"].map(_last_epoch(logs))
  return runs.assign(
    series=runs["net"].map(key_without_depth),
    blocks=blocks,
    rate=runs["train.learning_rate"].astype("float64") * scale,
    loss=losses.where(runs["status"] == records.DONE),
    branch_scale=runs["model.branch_scale"].astype("float64"),
    initialization=runs["model.initialization"],
  )[_RUNS].reset_index(drop=True)


def key_without_rate(key: str) -> str:
  """Removes the learning rate from a network's key."""
  return re.sub(r"-learning_rate_\d[\d.]*(e[-+]?\d+)?", "", key)


def _blocks(logs: Logs, run: str) -> int:
  own = logs.settings[logs.settings["id"] == run].set_index("key")["value"]
  given = {field.name: own[f"model.{field.name}"] for field in dataclasses.fields(Structure)}
  return Structure(**{**given, "blocks": tuple(given["blocks"])}).total_blocks


def _last_epoch(logs: Logs) -> pd.Series:
  """Returns the mean training loss of the lines that end in a run's last epoch, by id."""
  lines = logs.metrics[(logs.metrics["split"] == "train")]
  lines = lines[lines["epoch"] > lines.groupby("id")["epoch"].transform("max") - 1]
  weights = lines["images"].astype("float64")
  return (lines["loss"] * weights).groupby(lines["id"]).sum(min_count=1) / weights.groupby(lines["id"]).sum()


def loss_curves(runs: pd.DataFrame) -> pd.DataFrame:
  """Returns the losses over seeds of each network at each rate.

  Args:
    runs: Result of `swept_runs`.

  Returns:
    series, depth, blocks, rate, loss (geometric mean over the seeds that have one), low, high, seeds, diverged (number
    of seeds whose loss was not finite).
  """
  rows = []
  for (series, depth, blocks, rate), own in runs.groupby(["series", "depth", "blocks", "rate"], sort=True):
    losses = own["loss"].dropna()
    mean = math.exp(np.log(losses).mean()) if len(losses) else math.nan
    rows.append((series, depth, blocks, rate, mean, losses.min(), losses.max(), len(own), len(own) - len(losses)))
  return pd.DataFrame(rows, columns=_CURVES)


def optima(runs: pd.DataFrame) -> pd.DataFrame:
  """Returns the best rate of each network and seed.

  Returns:
    series, depth, blocks, seed, rate (missing where it was not measured), loss (lowest of the swept ones), optimum
    (`INSIDE`, or why there is none).
  """
  rows = []
  for (series, depth, blocks, seed), own in runs.groupby(["series", "depth", "blocks", "seed"], sort=True):
    own = own.sort_values("rate")
    rate, optimum = best_rate(list(own["rate"]), list(own["loss"]))
    rows.append((series, depth, blocks, seed, rate, own["loss"].min(), optimum))
  return pd.DataFrame(rows, columns=_OPTIMA)


def best_rate(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, str]:
  """Finds the minimum of the loss over the rate.

  It is the vertex of the parabola fitted by least squares to the logarithms of the lowest loss and those of its
  neighbours, `WINDOW` on each side; that vertex stays between the neighbours next to the lowest loss.

  Args:
    rates: Rates in increasing order.
    losses: Positive; NaN where training diverged.

  Returns:
    The rate, NaN where the lowest loss is at an end of the sweep; and `INSIDE`, or why there is none.
  """
  x, y = np.log2(np.asarray(rates)), np.log2(np.asarray(losses, "float64"))
  if np.isnan(y).all():
    return math.nan, UNSTABLE
  lowest = int(np.nanargmin(y))
  if lowest == 0 or lowest == len(y) - 1:
    return math.nan, LOWEST if lowest == 0 else HIGHEST
  near = slice(max(lowest - WINDOW, 0), lowest + WINDOW + 1)
  x_near, y_near = x[near][~np.isnan(y[near])], y[near][~np.isnan(y[near])]
  vertex = x[lowest]
  if len(x_near) >= 3:
    square, linear, _ = np.polyfit(x_near - x[lowest], y_near, 2)
    if square > 0:
      vertex = np.clip(x[lowest] - linear / (2 * square), x[lowest - 1], x[lowest + 1])
  return float(2**vertex), INSIDE


def exponents(runs: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
  """Fits rate = coefficient * L ** exponent to the optima of each series, by least squares of the logarithms.

  Depths at which a seed has no optimum are left out. The exponent is the mean of those of the seeds, and the interval
  Student's over the seeds; of a single seed it is that of the fit, from the scatter about the line.

  Args:
    runs: Result of `swept_runs`.
    best: Result of `optima`.

  Returns:
    series, depths and seeds (counts), exponent, low, high, rate_at_one (of the fit, at L = 1), predicted (2a - 1 of
    branches multiplied by L^-a, missing for other initial weights than He's). Series of fewer than `MIN_DEPTHS` depths
    have no exponent.
  """
  rows: list[tuple[Any, ...]] = []
  for series, own in best.groupby("series", sort=False):
    first = runs[runs["series"] == series].iloc[0]
    predicted = 2 * first["branch_scale"] - 1 if first["initialization"] == "he" else math.nan
    usable = own[(own["optimum"] == INSIDE).groupby(own["depth"]).transform("all")]
    depths, seeds = usable["depth"].nunique(), usable["seed"].nunique()
    if depths < MIN_DEPTHS:
      rows.append((series, depths, seeds, *[math.nan] * 4, predicted))
      continue
    fits = [power_law.fit(list(each["blocks"].astype(float)), list(each["rate"])) for _, each in usable.groupby("seed")]
    found = [fit for fit in fits if fit is not None]
    slopes = [fit.exponent for fit in found]
    low, high = seed_statistics.interval(slopes) if len(found) > 1 else (found[0].low, found[0].high)
    at_one = math.exp(float(np.mean([math.log(fit.coefficient) for fit in found])))
    rows.append((series, depths, seeds, float(np.mean(slopes)), low, high, at_one, predicted))
  return pd.DataFrame(rows, columns=_EXPONENTS)


def sharpness(logs: Logs, runs: pd.DataFrame) -> pd.DataFrame:
  """Returns the largest Hessian eigenvalue times the rate, of the runs of which a study has it.

  Returns:
    series, depth, blocks, seed, rate, eigenvalue, product. SGD with momentum m is stable on a quadratic loss while the
    product is below 2 (1 + m).
  """
  hessian = logs.studies["hessian"]
  largest = hessian[hessian["index"] == 1].groupby("id")["eigenvalue"].last()
  own = runs.assign(eigenvalue=runs["id"].map(largest)).dropna(subset=["eigenvalue", "loss"])
  return own.assign(product=own["eigenvalue"] * own["rate"])[_SHARPNESS].reset_index(drop=True)


def at_best_rates(logs: Logs) -> Logs:
  """Returns the logs with each network that was swept over learning rates at its best rate only.

  That is the rate with the lowest geometric mean over seeds of the training loss of the last epoch, among the rates at
  which no seed diverged, or else at which the fewest did. The rate is no part of the key of such a network.
  """
  runs = swept_runs(logs)
  if runs.empty:
    return logs
  chosen: set[str] = set()
  for _, own in runs.groupby("net", sort=False):
    curve = loss_curves(own).sort_values(["diverged", "loss"])
    chosen |= set(own.loc[own["rate"] == curve["rate"].iloc[0], "id"])
  dropped = set(runs["id"]) - chosen

  def kept(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame[~frame["id"].isin(dropped)]
    ours = frame["id"].isin(chosen)
    return frame.assign(net=frame["net"].where(~ours, frame["net"].map(key_without_rate))).reset_index(drop=True)

  changes: dict[str, Any] = {"studies": {name: kept(frame) for name, frame in logs.studies.items()}}
  for field in dataclasses.fields(logs):
    if isinstance(frame := getattr(logs, field.name), pd.DataFrame):
      changes[field.name] = kept(frame)
  return dataclasses.replace(logs, **changes)
