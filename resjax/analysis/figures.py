"""The paper's Fig. 6 and Fig. 7 from an experiment's runs, as SVG."""

import statistics

import pandas as pd
from matplotlib.ticker import FuncFormatter, MaxNLocator

from resjax import records
from resjax.analysis import drawing, style
from resjax.analysis.curves import error_curves, response_curves
from resjax.analysis.drawing import DASHED, SOLID, Panel
from resjax.analysis.frames import Logs
from resjax.analysis.nets import Net, nets, series_order

# Beyond this ratio of depths the layer's number would press the shallow nets against the axis.
_COMPARABLE_DEPTHS = 8
_PANEL_TITLES = {"plain": "Plain nets", "residual": "Residual nets", "other": "Other nets"}


def figure6(logs: Logs) -> list[Panel]:
  """Training error (dashed) and test error (bold) against step, a panel for each kind of net.

  Without test lines the validation error stands in. [] if nothing was measured yet.
  """
  curves = error_curves(logs)
  if curves.empty:
    return []
  evaluated = evaluated_split(curves)
  curves = curves[curves["split"].isin(["train", evaluated])]
  top = _error_ceiling(curves)
  every = nets(logs.runs)
  colors = style.series_colors(series_order(every))
  failures = _failures(logs)
  kinds = list(dict.fromkeys(net.kind for net in every))
  measured = set(curves["net"])
  panels = []
  for kind in kinds:
    drawn = [net for net in every if net.kind == kind and net.key in measured]
    if drawn:
      panels.append(_figure6_panel(kind, drawn, curves, evaluated, colors, failures, top))
  return panels


def evaluated_split(curves: pd.DataFrame) -> str:
  """Which split the bold curves of Fig. 6 show: "test" where there is one, else "val"."""
  return "test" if (curves["split"] == "test").any() else "val"


def figure7(logs: Logs) -> list[Panel]:
  """Standard deviation of the layers' responses, in original order and sorted by size.

  Plain nets dashed, residual ones solid, seeds as a band. [] if nothing was captured yet.
  """
  titles = {"original": "In original order", "sorted": "Sorted by size"}
  frames = {order: response_curves(logs, order) for order in titles}
  if frames["original"].empty:
    return []
  every = nets(logs.runs)
  return [response_panel(f"fig7-{order}", title, frames[order], every) for order, title in titles.items()]


def _figure6_panel(
  kind: str,
  drawn: list[Net],
  curves: pd.DataFrame,
  evaluated: str,
  colors: dict[str, str],
  failures: dict[str, list[tuple[float, float]]],
  top: float,
) -> Panel:
  with style.panel() as (figure, axes):
    ends = []
    for net in drawn:
      color = colors[net.series]
      for split, width, dashes in (("train", 1.0, DASHED), (evaluated, 2.0, SOLID)):
        curve = drawing.curve_of(curves[curves["split"] == split], net)
        if not curve:
          continue
        drawing.draw_curve(axes, curve, "step", color, width, dashes, scale=100)
        end = 100 * curve["mean"][-1]
      ends.append((end, net.series, color))
      for step, error in failures.get(net.key, ()):
        axes.plot(step, min(100 * error, top), marker="x", color=color, markeredgewidth=1.8, clip_on=False)
    axes.set_ylim(0, top)
    axes.set_xlim(0, max(float(curves["step"].max()), 1))
    axes.set_xlabel("step")
    axes.set_ylabel("error (%)")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(drawing.thousands))
    title = _PANEL_TITLES.get(kind, f"{kind} nets")
    axes.set_title(title)
    bold = "test" if evaluated == "test" else "validation"
    keys = {f"{bold} error": (SOLID, 2.0), "training error": (DASHED, 1.0)}
    drawing.line_key(axes, keys)
    style.label_ends(axes, ends)
    names = ", ".join(net.label for net in drawn)
    description = f"{title}: {bold} and training error in percent against step for {names}."
    return Panel(f"fig6-{kind}", style.to_svg(figure), description)


def response_panel(name: str, title: str, curves: pd.DataFrame, every: list[Net]) -> Panel:
  """One panel of Fig. 7: all nets on one axis, by layer or by rank; by their share of the net where depths differ much.

  Args:
    name: of the panel.
    title: of the panel.
    curves: what `response_curves` returned.
    every: the nets of the experiment, those that are not in `curves` too: colours depend on all.
  """
  in_order = "block" in curves
  drawn = [net for net in every if net.key in set(curves["net"])]
  colors = style.series_colors(series_order(every))
  relative = curves["layers"].max() > _COMPARABLE_DEPTHS * curves["layers"].min()
  if relative:
    curves = curves.assign(position=(curves["position"] - 1) / (curves["layers"] - 1).clip(lower=1))
  curves = drawing.thinned(curves)
  with style.panel() as (figure, axes):
    ends = []
    for net in drawn:
      curve = drawing.curve_of(curves, net)
      drawing.draw_curve(axes, curve, "position", colors[net.series], 1.8, drawing.line_of(net))
      # Sorted curves are named where they end; unsorted ones end anywhere, so at their middle height.
      height = statistics.median(curve["mean"]) if in_order else curve["mean"][-1]
      ends.append((height, net.label, colors[net.series]))
    drawing.log_scale_if_wide(axes, curves)
    axes.set_xlim(0 if relative else 1, 1 if relative else max(float(curves["position"].max()), 2))
    if not relative:
      axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    place = "layer" if in_order else "rank by size"
    axes.set_xlabel(f"{place}, as a fraction of the net's" if relative else place)
    axes.set_ylabel("standard deviation")
    axes.set_title(title)
    drawing.kind_key(axes, drawn)
    style.label_ends(axes, ends)
    names = ", ".join(net.label for net in drawn)
    description = f"Standard deviation of each layer's response, {title.lower()}, for {names}."
    return Panel(name, style.to_svg(figure), description)


def _failures(logs: Logs) -> dict[str, list[tuple[float, float]]]:
  """For each net the last (step, error) that its failed runs logged, of whichever split."""
  failed = logs.runs.loc[logs.runs["status"] == records.FAILED, "id"]
  logged = logs.metrics[logs.metrics["id"].isin(failed)].dropna(subset=["error"])
  found: dict[str, list[tuple[float, float]]] = {}
  for row in logged.groupby("id").last().to_dict("records"):
    found.setdefault(row["net"], []).append((float(row["step"]), float(row["error"])))
  return found


def _error_ceiling(curves: pd.DataFrame) -> float:
  """Upper limit in percent that shows what follows the first tenth of training, not its start."""
  settled = curves[curves["step"] >= curves["step"].max() / 10]
  return float(min(100, max(1, 108 * settled["mean"].max())))
