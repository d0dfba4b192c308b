"""Best learning rate of each network of a sweep, and its power law in the number of blocks L.

The learning rate ("rate") is the one that training applied, learning_rate (L / 9)^rate_scale. The loss is the mean
training loss of the last epoch. Needs scipy.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from resjax import paper, records
from resjax.analysis import power_law, seed_statistics, study_lines
from resjax.analysis.logs import Logs
from resjax.analysis.networks import key_without_depth
from resjax.depth import Structure

MIN_RATES = 5  # number of learning rates from which on the runs of a network are a sweep
WINDOW = 2  # number of neighbors on each side of the lowest loss to which the parabola is fitted
# Result of the search for the best rate: found between the ends of the sweep, or why not.
INSIDE, LOWEST, HIGHEST, UNSTABLE = "measured", "at the lowest rate", "at the highest rate", "no rate is stable"
UNFINISHED = "sweep unfinished"
REFERENCE_BLOCKS = 9  # of ResNet-20, see `train.rate_scale`

# Settings that a column is made of, and their values in records of versions that did not have them.
_SETTINGS = {
  **{"train.learning_rate": math.nan, "train.rate_scale": 0.0, "train.optimizer": "sgd"},
  **{"train.momentum": 0.9, "train.nesterov": False},
  **{"model.branch_scale": 0.0, "model.initialization": "he", "model.norm": "batch"},
}
_RUNS = [
  *("id", "net", "series", "kind", "depth", "blocks", "seed", "rate", "loss", "ended"),
  *("branch_scale", "initialization", "norm", "optimizer", "momentum", "nesterov"),
]
_CURVES = ["series", "depth", "blocks", "rate", "loss", "low", "high", "seeds", "diverged"]
_OPTIMA = ["series", "depth", "blocks", "seed", "rate", "loss", "optimum"]
_EXPONENTS = [
  *("series", "depths", "seeds", "unfinished", "exponent", "low", "high", "rate_at_one", "predicted", "published"),
]
_SHARPNESS = ["series", "depth", "blocks", "seed", "rate", "best_rate", "eigenvalue", "product", "limit"]


def swept_runs(logs: Logs) -> pd.DataFrame:
  """Returns the runs of the networks that are trained at `MIN_RATES` learning rates or more.

  Returns:
    Columns id, net (without the rate), series (without rate and depth), kind, depth, blocks (L), seed, rate (as
    applied), loss (mean training loss of the last epoch, nats; missing if it was not finite or training has not ended),
    ended (whether the run is done or has diverged; not if it failed for another reason), branch_scale, initialization,
    norm, optimizer, momentum, nesterov; one row per run.
  """
  runs = logs.runs[logs.runs["depth"].notna()]
  settings = logs.settings[logs.settings["key"].isin(list(_SETTINGS))].pivot_table(
    index="id", columns="key", values="value", aggfunc="first"
  )
  settings = settings.reindex(columns=list(_SETTINGS)).dropna(subset="train.learning_rate")
  known = {key: settings[key].map(lambda v, d=default: d if pd.isna(v) else v) for key, default in _SETTINGS.items()}
  runs = runs.set_index("id").join(pd.DataFrame(known), how="inner").reset_index()
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
  done = runs["status"] == records.DONE
  diverged = (runs["status"] == records.FAILED) & runs["reason"].fillna("").str.startswith(records.DIVERGED)
  return runs.assign(
    series=runs["net"].map(key_without_depth),
    blocks=blocks,
    rate=runs["train.learning_rate"].astype("float64") * scale,
    loss=losses.where(done),
    ended=done | diverged,
    branch_scale=runs["model.branch_scale"].astype("float64"),
    initialization=runs["model.initialization"],
    norm=runs["model.norm"],
    optimizer=runs["train.optimizer"],
    momentum=runs["train.momentum"].astype("float64"),
    nesterov=runs["train.nesterov"].astype("bool"),
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
  """Returns the loss of each network at each learning rate, over the seeds whose training has ended.

  Args:
    runs: Result of `swept_runs`.

  Returns:
    Columns series, depth, blocks, rate, loss (geometric mean over the seeds with a finite loss), low and high (minimum
    and maximum over those seeds), seeds (number), diverged (number of seeds whose loss was not finite).
  """
  rows = []
  ended = runs[runs["ended"]]
  for (series, depth, blocks, rate), part in ended.groupby(["series", "depth", "blocks", "rate"], sort=True):
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
    the sweep), optimum (`INSIDE`, `LOWEST`, `HIGHEST`, `UNSTABLE`, or `UNFINISHED` if the training at a rate has not
    ended).
  """
  rows = []
  for (series, depth, blocks, seed), part in runs.groupby(["series", "depth", "blocks", "seed"], sort=True):
    part = part.sort_values("rate")
    rate, optimum = math.nan, UNFINISHED
    if part["ended"].all():
      rate, optimum = best_rate(list(part["rate"]), list(part["loss"]))
    rows.append((series, depth, blocks, seed, rate, part["loss"].min(), optimum))
  return pd.DataFrame(rows, columns=_OPTIMA)


def best_rate(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, str]:
  """Finds the learning rate with the lowest loss by interpolation between the swept rates.

  A parabola is fitted by least squares to the logarithms of rate and loss at the lowest loss and up to `WINDOW`
  neighbors on each side. Its vertex, limited to the interval between the two nearest neighbors, is the best rate. On
  the side of a neighbor at which training diverged, the limit is the rate with the lowest loss.

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
      low, high = (x[lowest if np.isnan(y[side]) else side] for side in (lowest - 1, lowest + 1))
      vertex = np.clip(x[lowest] - linear / (2 * square), low, high)
  return float(2**vertex), INSIDE


def exponents(runs: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
  """Fits rate = coefficient * L ** exponent to the best rates of each series, by least squares of the logarithms.

  Unfinished sweeps are left out, and so are depths where the best rate of a seed is not inside the sweep. The exponent
  is the mean over seeds of separate fits to three or more depths, with Student's interval over seeds; for a single
  seed the interval is that of the fit.

  Args:
    runs: Result of `swept_runs`.
    best: Result of `optima`.

  Returns:
    Columns series, depths (number of depths with a best rate), seeds (number of seeds with a fit), unfinished (number
    of unfinished sweeps of one depth and seed), exponent, low, high, rate_at_one (of the fit, at L = 1), predicted and
    published (see `expected_exponents`). Exponent, interval and rate_at_one are missing if no seed has a fit.
  """
  rows: list[tuple[Any, ...]] = []
  for series, of_series in best.groupby("series", sort=False):
    expected = expected_exponents(dict(runs[runs["series"] == series].iloc[0]))
    finished = of_series[of_series["optimum"] != UNFINISHED]
    at_ends = finished.loc[finished["optimum"] != INSIDE, "depth"]
    usable = finished[~finished["depth"].isin(at_ends)]
    fits = [power_law.fit(list(each["blocks"].astype(float)), list(each["rate"])) for _, each in usable.groupby("seed")]
    laws = [fit for fit in fits if fit is not None]
    counts = usable["depth"].nunique(), len(laws), len(of_series) - len(finished)
    if not laws:
      rows.append((series, *counts, *[math.nan] * 4, *expected))
      continue
    slopes = [law.exponent for law in laws]
    low, high = seed_statistics.interval(slopes) if len(laws) > 1 else (laws[0].low, laws[0].high)
    at_one = math.exp(float(np.mean([math.log(law.coefficient) for law in laws])))
    rows.append((series, *counts, float(np.mean(slopes)), low, high, at_one, *expected))
  return pd.DataFrame(rows, columns=_EXPONENTS)


def expected_exponents(run: Mapping[str, Any]) -> tuple[float, float]:
  """Returns the exponent that the effect of a first step suggests, and the published one, for a run's parametrization.

  Both are known for residual networks without normalization that SGD trains only; see `paper.LEARNING_RATE_EXPONENTS`.

  Args:
    run: Row of `swept_runs`.

  Returns:
    2a - 1 for branches multiplied by L^-a with He's initialization, and the published exponent; NaN where unknown.
  """
  if run["kind"] != "residual" or run["norm"] != "none" or run["optimizer"] != "sgd":
    return math.nan, math.nan
  scale, initialization = float(run["branch_scale"]), run["initialization"]
  predicted = 2 * scale - 1 if initialization == "he" else math.nan
  return predicted, paper.LEARNING_RATE_EXPONENTS.get((initialization, scale), math.nan)


def sharpness(logs: Logs, runs: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
  """Returns the product of largest Hessian eigenvalue and learning rate at the best rate of each network and seed.

  Of the runs with a study of the Hessian, the one nearest to the best rate is used. Networks and seeds whose best rate
  is not inside the sweep are left out.

  Args:
    logs: Logs of one experiment.
    runs: Result of `swept_runs`.
    best: Result of `optima`.

  Returns:
    Columns series, depth, blocks, seed, rate (of the studied run), best_rate, eigenvalue, product, limit (below which
    SGD with momentum m is stable on a quadratic loss, 2 (1 + m); missing for other optimizers).
  """
  hessian = study_lines.of_last_step(logs, "hessian")
  largest = hessian[hessian["index"] == 1].groupby("id")["eigenvalue"].last()
  studied = runs.assign(eigenvalue=runs["id"].map(largest)).dropna(subset=["eigenvalue", "loss"])
  inside = best[best["optimum"] == INSIDE].rename(columns={"rate": "best_rate"})
  place = ["series", "depth", "seed"]
  studied = studied.merge(inside[[*place, "best_rate"]], on=place)
  octaves = np.abs(np.log2(studied["rate"]) - np.log2(studied["best_rate"]))
  distances = pd.Series(octaves, index=studied.index)
  nearest = studied.loc[distances.sort_values(kind="stable").index].drop_duplicates(place).sort_index()
  heavy_ball = (nearest["optimizer"] == "sgd") & ~nearest["nesterov"]
  return nearest.assign(
    product=nearest["eigenvalue"] * nearest["rate"], limit=(2 * (1 + nearest["momentum"])).where(heavy_ball)
  )[_SHARPNESS].reset_index(drop=True)


def at_best_rates(logs: Logs) -> Logs:
  """Returns the logs without the runs of a learning rate sweep that are not at their network's best rate.

  The best rate has the lowest geometric mean over seeds of the training loss of the last epoch, among the rates at
  which most seeds have finished and fewest diverged. The rate is removed from the keys of these networks.
  """
  runs = swept_runs(logs)
  if runs.empty:
    return logs
  chosen: set[str] = set()
  for _, of_net in runs.groupby("net", sort=False):
    curve = loss_curves(of_net)
    curve = curve.assign(missing=curve["diverged"] - curve["seeds"]).sort_values(["missing", "diverged", "loss"])
    rate = curve["rate"].iloc[0] if len(curve) else of_net["rate"].min()  # if nothing has ended yet
    chosen |= set(of_net.loc[of_net["rate"] == rate, "id"])
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
