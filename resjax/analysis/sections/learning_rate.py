"""Best learning rate by depth: loss against learning rate, power law of the best rate, and sharpness."""

import math
from typing import Any, Literal

import pandas as pd

from resjax.analysis import formats, learning_rates, linear_fit, plotting, seed_statistics, style
from resjax.analysis.logs import Logs
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import Column, Section, Table, join_words, run_commands, study_commands

_EXPONENTS = (
  *(Column("networks", number=False), Column("depths"), Column("seeds"), Column("exponent", "of L")),
  Column(f"{seed_statistics.LEVEL:.0%} interval", "over seeds; of the fit with one seed"),
  *(Column(title, "in the interval or not", number=False) for title in ("2a − 1", "published")),
  Column("best rate by depth", number=False),
)
_SHARPNESS = (
  *(Column("networks", number=False), Column("depth"), Column("seed"), Column("best rate")),
  *(Column("rate", "of the studied run"), Column("eigenvalue", "largest"), Column("eigenvalue × rate")),
  Column("limit", "of stability"),
)
_MAX_LOSS = 3.0  # upper limit of the axis in nats; a network that guesses ten classes has a loss of 2.3
_CAPTION = (
  "Mean training loss of the last epoch against the learning rate: geometric mean and range over seeds. Dots: each "
  "seed's optimum, by a parabola through the lowest points. Crosses at the top: the loss of at least one seed was not "
  "finite, or is off the scale. L is the number of blocks. For residual networks without normalization whose branches "
  "are multiplied by L^−a, the effect of a first step of SGD suggests the exponent 2a − 1."
)
_STABILITY = " The stability limit of SGD with momentum m on a quadratic loss is 2 (1 + m)."


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no network was trained at several learning rates."""
  runs = learning_rates.swept_runs(logs)
  if runs.empty:
    return None
  curves, best = learning_rates.loss_curves(runs), learning_rates.optima(runs)
  fitted, sharp = learning_rates.exponents(runs, best), learning_rates.sharpness(logs, runs, best)
  names, shared = _names(list(fitted["series"]))
  with_losses = [series for series in names if (curves["series"] == series).any()]
  panels = [_loss_panel(curves[curves["series"] == series], best, names[series]) for series in with_losses]
  panels.append(_depth_panel(best, fitted, names))
  tables = [Table("Exponent of the best rate in L.", _EXPONENTS, [_row(row, best, names) for row in _dicts(fitted)])]
  data = {"learning_rates": curves, "best_rates": best, "rate_exponents": fitted}
  if len(sharp):
    panels.append(_sharpness_panel(sharp, names))
    rows = [
      [
        *(names[row["series"]], formats.count(row["depth"]), formats.count(row["seed"])),
        *(formats.figures(row[key]) for key in ("best_rate", "rate", "eigenvalue", "product", "limit")),
      ]
      for row in _dicts(sharp)
    ]
    tables.append(
      Table(
        "Largest eigenvalue of the Hessian times the rate, at the studied rate nearest to the best.",
        _SHARPNESS,
        rows,
        folded=len(rows) > 8,
      )
    )
    data["sharpness"] = sharp
  return Section(
    key="learning-rate",
    title="Best learning rate by depth",
    findings=(findings := tuple(_finding(row, names) for row in _dicts(fitted))),
    headlines=findings,
    caption=_CAPTION + (_STABILITY if len(sharp) else "") + (f" Settings of all networks: {shared}." if shared else ""),
    panels=tuple(panels),
    tables=tuple(tables),
    data=data,
    commands=(*run_commands(logs), *(study_commands(logs, "landscape") if len(sharp) else ())),
  )


def _dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
  return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


def _names(series: list[str]) -> tuple[dict[str, str], str]:
  """Returns a readable name of each series, its settings without those that all have in common, and these."""
  words = {each: [part.replace("_", " ") for part in each.split("-")] for each in series}
  shared = 0
  while len(series) > 1 and len({tuple(parts[: shared + 1]) for parts in words.values()}) == 1:
    shared += 1
  names = {each: ", ".join(parts[shared:]) or "no further setting" for each, parts in words.items()}
  return names, ", ".join(words[series[0]][:shared])


def _finding(row: dict[str, Any], names: dict[str, str]) -> str:
  name, count = names[row["series"]], row["unfinished"]
  unfinished = f"; {count} unfinished sweep{'s' if count > 1 else ''} of one depth and seed left out" if count else ""
  if math.isnan(row["exponent"]):
    reason = f"no seed has a best rate at {linear_fit.MIN_DISTINCT} depths or more"
    return f"{name}: no exponent, because {reason}{unfinished}."
  of_fit, seeds = (" of the fit", "1 seed") if row["seeds"] == 1 else ("", f"{row['seeds']} seeds")
  text = (
    f"{name}: the best learning rate scales as L to the power {formats.number(row['exponent'])} "
    f"({seed_statistics.LEVEL:.0%} interval{of_fit} {formats.number(row['low'])} to {formats.number(row['high'])}; "
    f"{row['depths']} depths, {seeds}{unfinished})."
  )
  return " ".join([text, *_comparisons(row)])


def _comparisons(row: dict[str, Any]) -> list[str]:
  """Returns a sentence on the published exponent, or else on the expected one; [] if neither is known."""
  predicted, published = row["predicted"], row["published"]
  if not math.isnan(published):
    also = ", which is also 2a − 1," if predicted == published else ""
    return [f"The published exponent {_format_exponent(published)}{also} is {_place(row, 'published')} the interval."]
  if math.isnan(predicted):
    return []
  return [f"The expected exponent 2a − 1 = {_format_exponent(predicted)} is {_place(row, 'predicted')} the interval."]


def _place(row: dict[str, Any], key: str) -> str:
  return "inside" if row["low"] <= row[key] <= row["high"] else "outside"


def _format_exponent(value: float) -> str:
  return formats.signed(value, 0 if value == round(value) else 1) if value else "0"


def _row(row: dict[str, Any], best: pd.DataFrame, names: dict[str, str]) -> list[str]:
  known = not math.isnan(row["exponent"])
  expected = [
    formats.MISSING if math.isnan(row[key]) else _format_exponent(row[key]) + (f", {_place(row, key)}" if known else "")
    for key in ("predicted", "published")
  ]
  return [
    *(names[row["series"]], str(row["depths"]), str(row["seeds"]), formats.number(row["exponent"])),
    f"{formats.number(row['low'])} to {formats.number(row['high'])}" if known else formats.MISSING,
    *(*expected, _best_by_depth(best[best["series"] == row["series"]])),
  ]


def _best_by_depth(best: pd.DataFrame) -> str:
  words = []
  for depth, of_depth in best.groupby("depth"):
    finished = of_depth[of_depth["optimum"] != learning_rates.UNFINISHED]
    missing = finished.loc[finished["optimum"] != learning_rates.INSIDE, "optimum"]
    found = missing.iloc[0] if len(missing) else learning_rates.UNFINISHED
    if len(finished) and not len(missing):
      found = formats.figures(_geometric_mean(finished["rate"]), 2)
    words.append(f"{depth}: {found}")
  return "; ".join(words)


def _geometric_mean(rates: pd.Series) -> float:
  return math.exp(sum(math.log(rate) for rate in rates) / len(rates))


def _loss_panel(curves: pd.DataFrame, best: pd.DataFrame, name: str) -> Panel:
  series = curves["series"].iloc[0]
  depths = sorted(curves["depth"].unique())
  colors = style.series_colors([str(depth) for depth in depths])
  with style.panel() as (figure, axes):
    ends = []
    top = max(_MAX_LOSS, 1.1 * float(curves.groupby("depth")["loss"].first().max()))
    for depth in depths:
      curve, color = curves[curves["depth"] == depth].sort_values("rate"), colors[str(depth)]
      visible = curve[curve["loss"] <= top]
      axes.plot(visible["rate"], visible["loss"], color=color, linewidth=1.6, marker=".", markersize=4)
      axes.fill_between(
        visible["rate"], visible["low"], visible["high"].clip(upper=top), color=color, alpha=0.15, linewidth=0
      )
      off = curve[(curve["diverged"] > 0) | (curve["loss"] > top)]
      axes.plot(off["rate"], [top] * len(off), "x", color=color, markersize=5, clip_on=False)
      measured = best[(best["series"] == series) & (best["depth"] == depth)].dropna(subset=["rate"])
      axes.plot(measured["rate"], measured["loss"], "o", color=color, markersize=5)
      if len(visible):
        ends.append((float(visible["loss"].iloc[-1]), str(depth), color))
    _rate_axis(axes, "x")
    plotting.log_scale(axes, "y")
    axes.set_ylim(top=top)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss, last epoch")
    axes.set_title(name)
    style.label_line_ends(axes, ends)
    words = join_words(map(str, depths))
    return Panel(f"rates-{series}", style.to_svg(figure), f"{name}: loss against learning rate at {words} layers.")


def _rate_axis(axes: Any, name: Literal["x", "y"]) -> None:
  """Makes an axis of learning rates logarithmic, with ticks at powers of two."""
  getattr(axes, f"set_{name}scale")("log", base=2)
  plotting.power_ticks(axes, name)


def _depth_panel(best: pd.DataFrame, fitted: pd.DataFrame, names: dict[str, str]) -> Panel:
  colors = style.series_colors(list(names.values()))
  with style.panel() as (figure, axes):
    ends = []
    for row in _dicts(fitted):
      optima = best[(best["series"] == row["series"])].dropna(subset=["rate"])
      color = colors[names[row["series"]]]
      axes.plot(optima["blocks"], optima["rate"], "o", color=color, markersize=4)
      if not math.isnan(row["exponent"]):
        at = [float(optima["blocks"].min()), float(optima["blocks"].max())]
        heights = [row["rate_at_one"] * blocks ** row["exponent"] for blocks in at]
        axes.plot(at, heights, color=color, linewidth=1.4)
        ends.append((heights[-1], f"{names[row['series']]}: {formats.number(row['exponent'])}", color))
    _rate_axis(axes, "y")
    plotting.log_integer_axis(axes, best["blocks"], "blocks L")
    axes.set_ylabel("best learning rate")
    axes.set_title("Best learning rate by depth")
    style.label_line_ends(axes, ends)
    return Panel(
      "best-rates", style.to_svg(figure), "Best learning rate against the number of blocks, with power laws."
    )


def _sharpness_panel(sharp: pd.DataFrame, names: dict[str, str]) -> Panel:
  colors = style.series_colors(list(names.values()))
  with style.panel() as (figure, axes):
    ends = []
    for series, name in names.items():
      products = sharp[sharp["series"] == series].groupby("blocks")["product"].mean()
      if len(products):
        axes.plot(products.index, products, color=colors[name], linewidth=1.4, marker="o", markersize=4)
        ends.append((float(products.iloc[-1]), name, colors[name]))
    for limit in sharp["limit"].dropna().unique():
      axes.axhline(limit, color=style.FAINT, linewidth=1, linestyle=plotting.DASHED)
      ends.append((float(limit), "stability limit", style.FAINT))
    plotting.log_scale(axes, "y")
    plotting.log_integer_axis(axes, sharp["blocks"], "blocks L")
    axes.set_ylabel("largest eigenvalue × rate")
    axes.set_title("Sharpness at the best rate")
    style.label_line_ends(axes, ends)
    return Panel(
      "sharpness",
      style.to_svg(figure),
      "Largest Hessian eigenvalue times the rate against the blocks, with the limit of stability.",
    )
