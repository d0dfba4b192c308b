"""Best learning rate of each network of a sweep, and its power law in the number of blocks L.

The learning rate ("rate") is the one that training applied, learning_rate (L / 9)^rate_scale. The loss is the mean
training loss of the last epoch. Needs scipy.
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

MIN_RATES = 5  # number of learning rates from which on the runs of a network are a sweep
MIN_DEPTHS = 3  # for a power law, because any two points lie on a line
WINDOW = 2  # number of neighbors on each side of the lowest loss to which the parabola is fitted
# Result of the search for the best rate: found between the ends of the sweep, or why not.
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
  """Returns the finished and failed runs of the networks that were trained at `MIN_RATES` learning rates or more.

  Returns:
    Columns id, net (without the rate), series (without rate and depth), kind, depth, blocks (L), seed, rate (as
    applied), loss (mean training loss of the last epoch, nats; missing if it was not finite), status, branch_scale,
    initialization; one row per run.
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
  blocks = runs["net"].map(
    {net: _total_blocks(logs, ids[0]) for net, ids in runs.groupby("net")["id"].unique().items()}
  )
  scale = (blocks / REFERENCE_BLOCKS) ** runs["train.rate_scale"].astype("float64")
  losses = runs["id"].map(_last_epoch_losses(logs))
  return runs.assign(
    series=runs["net"].map(key_without_depth),
    blocks=blocks,
    rate=runs["train.learning_rate"].astype("float64") * scale,
    loss=losses.where(runs["status"] == records.DONE),
    branch_scale=runs["model.branch_scale"].astype("float64"),
    initialization=runs["model.initialization"],
  )[_RUNS].reset_index(drop=True)


def key_without_rate(key: str) -> str:
  """Removes the learning rate from a network's key, so that networks that differ only in it get the same key."""
  return re.sub(r"-learning_rate_\d[\d.]*(e[-+]?\d+)?", "", key)


def _total_blocks(logs: Logs, run: str) -> int:
  """Returns the number of blocks of a run's network."""
  settings = logs.settings_of(run)
  fields = {field.name: settings[f"model.{field.name}"] for field in dataclasses.fields(Structure)}
  return Structure(**{**fields, "blocks": tuple(fields["blocks"])}).total_blocks


def _last_epoch_losses(logs: Logs) -> pd.Series:
  """Returns the mean training loss of each run's last epoch by run id, from the log lines that end in that epoch."""
  lines = logs.metrics[(logs.metrics["split"] == "train")]
  lines = lines[lines["epoch"] > lines.groupby("id")["epoch"].transform("max") - 1]
  weights = lines["images"].astype("float64")
  return (lines["loss"] * weights).groupby(lines["id"]).sum(min_count=1) / weights.groupby(lines["id"]).sum()


def loss_curves(runs: pd.DataFrame) -> pd.DataFrame:
  """Returns the loss of each network at each learning rate, over seeds.

  Args:
    runs: Result of `swept_runs`.

  Returns:
    Columns series, depth, blocks, rate, loss (geometric mean over the seeds with a finite loss), low and high (minimum
    and maximum over those seeds), seeds (number), diverged (number of seeds whose loss was not finite).
  """
  rows = []
  for (series, depth, blocks, rate), part in runs.groupby(["series", "depth", "blocks", "rate"], sort=True):
    losses = part["loss"].dropna()
    mean = math.exp(np.log(losses).mean()) if len(losses) else math.nan
    rows.append((series, depth, blocks, rate, mean, losses.min(), losses.max(), len(part), len(part) - len(losses)))
  return pd.DataFrame(rows, columns=_CURVES)


def optima(runs: pd.DataFrame) -> pd.DataFrame:
  """Returns the best learning rate of each network and seed.

  Args:
    runs: Result of `swept_runs`.

  Returns:
    Columns series, depth, blocks, seed, rate (best rate; missing if it is not inside the sweep), loss (lowest loss in
    the sweep), optimum (`INSIDE`, `LOWEST`, `HIGHEST` or `UNSTABLE`).
  """
  rows = []
  for (series, depth, blocks, seed), part in runs.groupby(["series", "depth", "blocks", "seed"], sort=True):
    part = part.sort_values("rate")
    rate, optimum = best_rate(list(part["rate"]), list(part["loss"]))
    rows.append((series, depth, blocks, seed, rate, part["loss"].min(), optimum))
  return pd.DataFrame(rows, columns=_OPTIMA)


def best_rate(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, str]:
  """Finds the learning rate with the lowest loss by interpolation between the swept rates.

  A parabola is fitted by least squares to the logarithms of rate and loss at the lowest loss and up to `WINDOW`
  neighbors on each side. Its vertex, limited to the interval between the two nearest neighbors, is the best rate.

  Args:
    rates: Learning rates in increasing order.
    losses: Loss at each rate, positive; NaN if training diverged.

  Returns:
    The best rate, NaN unless it is inside the sweep; and `INSIDE`, `LOWEST`, `HIGHEST` or `UNSTABLE`.
  """
  x, y = np.log2(np.asarray(rates)), np.log2(np.asarray(losses, "float64"))
  if np.isnan(y).all():
    return math.nan, UNSTABLE
  lowest = int(np.nanargmin(y))
  if lowest == 0 or lowest == len(y) - 1:
    return math.nan, LOWEST if lowest == 0 else HIGHEST
  window = slice(max(lowest - WINDOW, 0), lowest + WINDOW + 1)
  x_near, y_near = x[window][~np.isnan(y[window])], y[window][~np.isnan(y[window])]
  vertex = x[lowest]
  if len(x_near) >= 3:
    square, linear, _ = np.polyfit(x_near - x[lowest], y_near, 2)
    if square > 0:
      vertex = np.clip(x[lowest] - linear / (2 * square), x[lowest - 1], x[lowest + 1])
  return float(2**vertex), INSIDE


def exponents(runs: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
  """Fits rate = coefficient * L ** exponent to the best rates of each series, by least squares of the logarithms.

  Depths are left out if the best rate of a seed is not inside the sweep. The exponent is the mean over seeds of
  separate fits, with Student's interval over seeds; for a single seed the interval is that of the fit.

  Args:
    runs: Result of `swept_runs`.
    best: Result of `optima`.

  Returns:
    Columns series, depths and seeds (counts), exponent, low, high, rate_at_one (of the fit, at L = 1), predicted
    (2a - 1 for branches multiplied by L^-a; missing without He's initialization). The exponent is missing with fewer
    than `MIN_DEPTHS` depths.
  """
  rows: list[tuple[Any, ...]] = []
  for series, of_series in best.groupby("series", sort=False):
    first = runs[runs["series"] == series].iloc[0]
    predicted = 2 * first["branch_scale"] - 1 if first["initialization"] == "he" else math.nan
    usable = of_series[(of_series["optimum"] == INSIDE).groupby(of_series["depth"]).transform("all")]
    depths, seeds = usable["depth"].nunique(), usable["seed"].nunique()
    if depths < MIN_DEPTHS:
      rows.append((series, depths, seeds, *[math.nan] * 4, predicted))
      continue
    fits = [power_law.fit(list(each["blocks"].astype(float)), list(each["rate"])) for _, each in usable.groupby("seed")]
    laws = [fit for fit in fits if fit is not None]
    slopes = [law.exponent for law in laws]
    low, high = seed_statistics.interval(slopes) if len(laws) > 1 else (laws[0].low, laws[0].high)
    at_one = math.exp(float(np.mean([math.log(law.coefficient) for law in laws])))
    rows.append((series, depths, seeds, float(np.mean(slopes)), low, high, at_one, predicted))
  return pd.DataFrame(rows, columns=_EXPONENTS)


def sharpness(logs: Logs, runs: pd.DataFrame) -> pd.DataFrame:
  """Returns the product of largest Hessian eigenvalue and learning rate, for runs with a study of the Hessian.

  SGD with momentum m is stable on a quadratic loss while the product is below 2 (1 + m).

  Args:
    logs: Logs of one experiment.
    runs: Result of `swept_runs`.

  Returns:
    Columns series, depth, blocks, seed, rate, eigenvalue, product.
  """
  hessian = logs.studies["hessian"]
  largest = hessian[hessian["index"] == 1].groupby("id")["eigenvalue"].last()
  studied = runs.assign(eigenvalue=runs["id"].map(largest)).dropna(subset=["eigenvalue", "loss"])
  return studied.assign(product=studied["eigenvalue"] * studied["rate"])[_SHARPNESS].reset_index(drop=True)


def at_best_rates(logs: Logs) -> Logs:
  """Returns the logs without the runs of a learning rate sweep that are not at their network's best rate.

  The best rate has the lowest geometric mean over seeds of the training loss of the last epoch, among the rates at
  which the fewest seeds diverged. The rate is removed from the keys of these networks.
  """
  runs = swept_runs(logs)
  if runs.empty:
    return logs
  chosen: set[str] = set()
  for _, of_net in runs.groupby("net", sort=False):
    curve = loss_curves(of_net).sort_values(["diverged", "loss"])
    chosen |= set(of_net.loc[of_net["rate"] == curve["rate"].iloc[0], "id"])
  dropped = set(runs["id"]) - chosen

  def selected(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame[~frame["id"].isin(dropped)]
    swept = frame["id"].isin(chosen)
    return frame.assign(net=frame["net"].where(~swept, frame["net"].map(key_without_rate))).reset_index(drop=True)

  changes: dict[str, Any] = {"studies": {name: selected(frame) for name, frame in logs.studies.items()}}
  for field in dataclasses.fields(logs):
    if isinstance(frame := getattr(logs, field.name), pd.DataFrame):
      changes[field.name] = selected(frame)
  return dataclasses.replace(logs, **changes)
