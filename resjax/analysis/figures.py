"""The paper's Fig. 6 and Fig. 7 from an experiment's runs, as SVG."""

import dataclasses
import statistics
from collections.abc import Container, Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from resjax import records
from resjax.analysis import plotting, style
from resjax.analysis.curves import error_curves, response_curves
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network, label_networks, series_order
from resjax.analysis.plotting import DASHED, SOLID, Panel

# Beyond this ratio of depths the layer's number would press the shallow nets against the axis.
_COMPARABLE_DEPTHS = 8
RESPONSE_TITLES = {"original": "In original order", "sorted": "Sorted by size"}
_PANEL_TITLES = {"plain": "Plain nets", "residual": "Residual nets", "other": "Other nets"}


def figure6(logs: Logs) -> list[Panel]:
  """Training error (dashed) and test error (bold) against step, a panel for each kind of net.

  Without test lines the validation error stands in. [] if nothing was measured yet.
  """
  errors = training_errors(logs)
  panels = []
  for kind in errors.kinds:
    with style.panel() as (figure, axes):
      description = draw_errors(axes, errors, kind)
      panels.append(Panel(f"fig6-{kind}", style.to_svg(figure), description))
  return panels


@dataclasses.dataclass(frozen=True)
class ErrorCurves:
  """What Fig. 6 draws.

  Attributes:
    nets: of the runs, those that have no curve, too: colours depend on all.
    curves: what `error_curves` returned, of the two splits that are drawn.
    evaluated: which of them is bold, "test" or "val".
    failures: of each net (step, error) where a run of it failed.
    top: of the axis, in percent.
  """

  nets: list[Network]
  curves: pd.DataFrame
  evaluated: str
  failures: Mapping[str, list[tuple[float, float]]]
  top: float

  @property
  def kinds(self) -> list[str]:
    """The kinds of nets that have curves, in reading order."""
    measured = set(self.curves["net"])
    return list(dict.fromkeys(net.kind for net in self.nets if net.key in measured))


def training_errors(logs: Logs, only: Container[str] | None = None) -> ErrorCurves:
  """Reads what Fig. 6 draws, of all nets or those whose keys are named; no curves where nothing was measured yet."""
  curves = error_curves(logs)
  every = [net for net in label_networks(logs.runs) if only is None or net.key in only]
  curves = curves[curves["net"].isin([net.key for net in every])]
  evaluated = evaluated_split(curves)
  curves = curves[curves["split"].isin(["train", evaluated])]
  top = _error_ceiling(curves) if len(curves) else 100.0
  return ErrorCurves(every, curves, evaluated, _failures(logs), top)


def evaluated_split(curves: pd.DataFrame) -> str:
  """Which split the bold curves of Fig. 6 show: "test" where there is one, else "val"."""
  return "test" if (curves["split"] == "test").any() else "val"


def figure7(logs: Logs) -> list[Panel]:
  """Standard deviation of the layers' responses, in original order and sorted by size.

  Plain nets dashed, residual ones solid, seeds as a band. [] if nothing was captured yet.
  """
  frames = {order: response_curves(logs, order) for order in RESPONSE_TITLES}
  if frames["original"].empty:
    return []
  every = label_networks(logs.runs)
  return [response_panel(f"fig7-{order}", title, frames[order], every) for order, title in RESPONSE_TITLES.items()]


def draw_errors(axes: Axes, errors: ErrorCurves, kind: str) -> str:
  """Draws a panel of Fig. 6, the nets of one kind, and returns what it shows in words."""
  curves, evaluated = errors.curves, errors.evaluated
  measured = set(curves["net"])
  drawn = [net for net in errors.nets if net.kind == kind and net.key in measured]
  colors = style.series_colors(series_order(errors.nets))
  ends = []
  for net in drawn:
    color = colors[net.series]
    for split, width, dashes in (("train", 1.0, DASHED), (evaluated, 2.0, SOLID)):
      curve = plotting.network_curve(curves[curves["split"] == split], net)
      if not curve:
        continue
      plotting.draw_curve(axes, curve, "step", color, width, dashes, scale=100)
      end = 100 * curve["mean"][-1]
    ends.append((end, net.series, color))
    for step, error in errors.failures.get(net.key, ()):
      axes.plot(step, min(100 * error, errors.top), marker="x", color=color, markeredgewidth=1.8, clip_on=False)
  axes.set_ylim(0, errors.top)
  axes.set_xlim(0, max(float(curves["step"].max()), 1))
  axes.set_xlabel("step")
  axes.set_ylabel("error (%)")
  axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
  axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
  axes.xaxis.set_major_formatter(FuncFormatter(plotting.format_step))
  title = _PANEL_TITLES.get(kind, f"{kind} nets")
  axes.set_title(title)
  bold = "test" if evaluated == "test" else "validation"
  keys = {f"{bold} error": (SOLID, 2.0), "training error": (DASHED, 1.0)}
  plotting.add_line_legend(axes, keys)
  style.label_line_ends(axes, ends)
  names = ", ".join(net.label for net in drawn)
  return f"{title}: {bold} and training error in percent against step for {names}."


def response_panel(name: str, title: str, curves: pd.DataFrame, every: list[Network]) -> Panel:
  """One panel of Fig. 7: all nets on one axis, by layer or by rank; by their share of the net where depths differ much.

  Args:
    name: of the panel.
    title: of the panel.
    curves: what `response_curves` returned.
    every: the nets of the experiment, those that are not in `curves` too: colours depend on all.
  """
  with style.panel() as (figure, axes):
    description = draw_responses(axes, title, curves, every)
    return Panel(name, style.to_svg(figure), description)


def draw_responses(axes: Axes, title: str, curves: pd.DataFrame, every: list[Network]) -> str:
  """Draws what `response_panel` shows, and returns it in words."""
  in_order = "block" in curves
  drawn = [net for net in every if net.key in set(curves["net"])]
  colors = style.series_colors(series_order(every))
  relative = curves["layers"].max() > _COMPARABLE_DEPTHS * curves["layers"].min()
  if relative:
    curves = curves.assign(position=(curves["position"] - 1) / (curves["layers"] - 1).clip(lower=1))
  curves = plotting.downsample(curves)
  ends = []
  for net in drawn:
    curve = plotting.network_curve(curves, net)
    plotting.draw_curve(axes, curve, "position", colors[net.series], 1.8, plotting.line_style(net))
    # Sorted curves are named where they end; unsorted ones end anywhere, so at their middle height.
    height = statistics.median(curve["mean"]) if in_order else curve["mean"][-1]
    ends.append((height, net.label, colors[net.series]))
  plotting.log_scale_if_wide(axes, curves)
  axes.set_xlim(0 if relative else 1, 1 if relative else max(float(curves["position"].max()), 2))
  if not relative:
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  place = "layer" if in_order else "rank by size"
  axes.set_xlabel(f"{place}, as a fraction of the net's" if relative else place)
  axes.set_ylabel("standard deviation")
  axes.set_title(title)
  plotting.add_kind_legend(axes, drawn)
  style.label_line_ends(axes, ends)
  names = ", ".join(net.label for net in drawn)
  return f"Standard deviation of each layer's response, {title.lower()}, for {names}."


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
