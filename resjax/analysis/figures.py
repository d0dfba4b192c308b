"""The paper's Fig. 6 and Fig. 7 from an experiment's runs, as SVG."""

import dataclasses
import statistics
from collections.abc import Collection, Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from resjax import records
from resjax.analysis import plotting, style
from resjax.analysis.curves import error_curves, response_curves
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import DASHED, SOLID, Panel

# Above this ratio of depths, the axis shows fractions of the depth, because shallow networks would take little of it.
_MAX_DEPTH_RATIO = 8
RESPONSE_TITLES = {"original": "Responses in original order", "sorted": "Responses sorted by size"}
_PANEL_TITLES = {"plain": "Plain networks", "residual": "Residual networks", "other": "Other networks"}


def figure6(logs: Logs) -> list[Panel]:
  """Draws Fig. 6: training error (dashed) and test error (bold) against step, one panel for each kind of network.

  The validation error replaces the test error if there is none.

  Args:
    logs: Logs of one experiment.

  Returns:
    The panels, with the legend in the first one; [] if no error has been logged.
  """
  errors = training_errors(logs)
  panels: list[Panel] = []
  for kind in errors.kinds:
    with style.panel() as (figure, axes):
      description = draw_errors(axes, errors, kind, legend=not panels)
      panels.append(Panel(f"fig6-{kind}", style.to_svg(figure), description))
  return panels


@dataclasses.dataclass(frozen=True)
class ErrorCurves:
  """The data of Fig. 6.

  Attributes:
    networks: All networks of the experiment, which determine the colors.
    curves: Result of `error_curves`, restricted to the two splits and the networks to draw.
    evaluated: The split drawn bold, "test" or "val".
    failures: By network key, (step, error) at which runs failed.
    top: Upper limit of the vertical axis in percent.
  """

  networks: Sequence[Network]
  curves: pd.DataFrame
  evaluated: str
  failures: Mapping[str, list[tuple[float, float]]]
  top: float

  @property
  def kinds(self) -> list[str]:
    """The kinds of networks that have curves, plain first."""
    measured = set(self.curves["net"])
    return list(dict.fromkeys(net.kind for net in self.networks if net.key in measured))


def training_errors(logs: Logs, only: Collection[str] | None = None) -> ErrorCurves:
  """Collects the data of Fig. 6.

  Args:
    logs: Logs of one experiment.
    only: Keys of the networks to draw; None for all.

  Returns:
    The curves, empty if no error has been logged.
  """
  curves = error_curves(logs)
  if only is not None:
    curves = curves[curves["net"].isin(list(only))]
  evaluated = evaluated_split(curves)
  curves = curves[curves["split"].isin(["train", evaluated])]
  top = _error_ceiling(curves) if len(curves) else 100.0
  return ErrorCurves(logs.networks, curves, evaluated, _failures(logs), top)


def evaluated_split(curves: pd.DataFrame) -> str:
  """Returns the split of the bold curves in Fig. 6: "test" if there are test errors, otherwise "val"."""
  return "test" if (curves["split"] == "test").any() else "val"


def figure7(logs: Logs) -> list[Panel]:
  """Draws Fig. 7: standard deviation of the layer responses, by layer and sorted by size.

  Curves of plain networks are dashed, those of residual ones solid. Bands are ranges over seeds.

  Args:
    logs: Logs of one experiment.

  Returns:
    Two panels, with the legend in the first one; [] if no responses have been recorded.
  """
  frames = {order: response_curves(logs, order) for order in RESPONSE_TITLES}
  if frames["original"].empty:
    return []
  return [
    response_panel(f"fig7-{order}", title, frames[order], logs.networks, legend=order == "original")
    for order, title in RESPONSE_TITLES.items()
  ]


def draw_errors(axes: Axes, errors: ErrorCurves, kind: str, legend: bool = True) -> str:
  """Draws one panel of Fig. 6.

  Args:
    axes: Axes to draw on.
    errors: Result of `training_errors`.
    kind: Kind of networks to draw.
    legend: Whether to draw a legend of the line styles above the panel.

  Returns:
    A description of the panel for readers who cannot see it.
  """
  curves, evaluated = errors.curves, errors.evaluated
  measured = set(curves["net"])
  drawn = [net for net in errors.networks if net.kind == kind and net.key in measured]
  colors = plotting.network_colors(errors.networks)
  ends = []
  for net in drawn:
    color = colors[net.key]
    for split, width, dashes in (("train", 1.0, DASHED), (evaluated, 2.0, SOLID)):
      curve = plotting.network_curve(curves[curves["split"] == split], net)
      if not curve:
        continue
      plotting.draw_curve(axes, curve, "step", plotting.Line(color, width, dashes), scale=100)
      end = 100 * curve["mean"][-1]
    ends.append((end, net.name, color))
    for step, error in errors.failures.get(net.key, ()):
      axes.plot(step, min(100 * error, errors.top), marker="x", color=color, markeredgewidth=1.8, clip_on=False)
  axes.set_ylim(0, errors.top)
  axes.set_xlim(0, max(float(curves["step"].max()), 1))
  axes.set_xlabel("step")
  axes.set_ylabel("error (%)")
  axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
  axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
  axes.xaxis.set_major_formatter(FuncFormatter(plotting.format_step))
  title = _PANEL_TITLES.get(kind, f"{kind} networks")
  axes.set_title(title)
  bold = "test" if evaluated == "test" else "validation"
  if legend:
    plotting.add_line_legend(axes, {f"{bold} error": (SOLID, 2.0), "training error": (DASHED, 1.0)})
  style.label_line_ends(axes, ends)
  names = ", ".join(net.label for net in drawn)
  return f"{title}: {bold} and training error in percent against step for {names}."


def response_panel(
  name: str, title: str, curves: pd.DataFrame, networks: Sequence[Network], legend: bool = True
) -> Panel:
  """Draws one panel of Fig. 7.

  Args:
    name: File name of the panel.
    title: Title of the panel.
    curves: Result of `response_curves`.
    networks: All networks of the experiment, which determine the colors.
    legend: Whether to draw a legend of the line styles above the panel.
  """
  with style.panel() as (figure, axes):
    description = draw_responses(axes, title, curves, networks, legend)
    return Panel(name, style.to_svg(figure), description)


def draw_responses(
  axes: Axes, title: str, curves: pd.DataFrame, networks: Sequence[Network], legend: bool = True
) -> str:
  """Draws one panel of Fig. 7 on existing axes.

  The horizontal axis is the layer or the rank, divided by the number of layers if depths differ widely.

  Args:
    axes: Axes to draw on.
    title: Title of the panel.
    curves: Result of `response_curves`.
    networks: All networks of the experiment, which determine the colors.
    legend: Whether to draw a legend of the line styles above the panel.

  Returns:
    A description of the panel for readers who cannot see it.
  """
  in_order = "block" in curves
  drawn = [net for net in networks if net.key in set(curves["net"])]
  colors = plotting.network_colors(networks)
  relative = curves["layers"].max() > _MAX_DEPTH_RATIO * curves["layers"].min()
  if relative:
    curves = curves.assign(position=curves["position"] / curves["layers"])
  curves = plotting.downsample(curves)
  ends = []
  for net in drawn:
    curve = plotting.network_curve(curves, net)
    plotting.draw_curve(axes, curve, "position", plotting.Line(colors[net.key], 1.8, plotting.line_style(net)))
    # Sorted curves are labelled at their end, others at their median, because their last value is arbitrary.
    height = statistics.median(curve["mean"]) if in_order else curve["mean"][-1]
    ends.append((height, net.label, colors[net.key]))
  plotting.log_scale_if_wide(axes, curves)
  axes.set_xlim(0 if relative else 1, 1 if relative else max(float(curves["position"].max()), 2))
  if not relative:
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
  if relative:
    axes.set_xlabel(f"relative {'depth (layer' if in_order else 'rank by size (rank'} / number of layers)")
  else:
    axes.set_xlabel("layer" if in_order else "rank by size")
  axes.set_ylabel("standard deviation")
  axes.set_title(title)
  if legend:
    plotting.add_kind_legend(axes, drawn)
  style.label_line_ends(axes, ends)
  names = ", ".join(net.label for net in drawn)
  return f"Standard deviation of each layer's response, {title.lower()}, for {names}."


def _failures(logs: Logs) -> dict[str, list[tuple[float, float]]]:
  """Returns the last (step, error) that each failed run logged on any split, by network key."""
  failed = logs.runs.loc[logs.runs["status"] == records.FAILED, "id"]
  logged = logs.metrics[logs.metrics["id"].isin(failed)].dropna(subset=["error"])
  failures: dict[str, list[tuple[float, float]]] = {}
  for row in logged.groupby("id").last().to_dict("records"):
    failures.setdefault(row["net"], []).append((float(row["step"]), float(row["error"])))
  return failures


def _error_ceiling(curves: pd.DataFrame) -> float:
  """Returns an upper limit of the axis in percent, at which the first tenth of training may be cut off."""
  settled = curves[curves["step"] >= curves["step"].max() / 10]
  return float(min(100, max(1, 108 * settled["mean"].max())))
