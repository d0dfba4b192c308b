"""Gradient flow: gradient norms of the layers, their ratio to the norms of the weights, and both over training."""

from collections.abc import Iterable

import pandas as pd

from resjax.analysis import formats, study_lines
from resjax.analysis.curves import layer_curves
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import Panel
from resjax.analysis.sections import through_training
from resjax.analysis.sections.section import (
  LineOptions,
  Section,
  line_panel,
  plotted_networks,
  run_commands,
  study_commands,
)

_MEASURES = {"norm": ("Gradient", "gradient norm"), "ratio": ("Gradient to weight", "gradient norm / weight norm")}


def build(logs: Logs) -> Section | None:
  """Builds the section; None if neither training nor a study recorded gradients."""
  captured = gradients(logs)
  if captured.empty:
    return None
  last = study_lines.last_capture(captured)
  data, panels = {}, []
  for measure, (title, label) in _MEASURES.items():
    curves = layer_curves(last[last[measure] > 0], measure, logs)
    data[f"gradient_{measure}"] = curves
    panels.append(_by_layer(logs, curves, f"gradient-{measure}", title, label))
  history = layer_curves(captured[captured["norm"] > 0], "norm", logs)
  several = history[history.groupby("net")["step"].transform("nunique") > 1]
  if not several.empty:
    data["gradients_through_training"] = several
    panels += through_training.panels(
      several, plotted_networks(logs, several), "gradient", "gradient norm", several["mean"]
    )
  return Section(
    key="gradients",
    title="Gradient flow",
    findings=_findings(plotted_networks(logs, data["gradient_norm"]), data["gradient_norm"]),
    caption="Norm of the gradient of the loss with respect to each layer’s weights, and its ratio to the norm of the "
    "weights, in the last recorded step. A curve that falls towards the left shows vanishing gradients, one that rises "
    "towards the left exploding ones.",
    panels=tuple(panels),
    data=data,
    commands=run_commands(logs) if len(logs.gradients) else study_commands(logs, "gradients"),
  )


def gradients(logs: Logs) -> pd.DataFrame:
  """Returns the gradient norms recorded in training, or else by a study, with the column ratio (norm / weight_norm).

  If a network was studied with several settings, one choice of them is used, see `study_lines.common_settings`.
  """
  studied = logs.studies["gradients"]
  studied = studied[~studied["net"].isin(set(logs.gradients["net"]))]
  studied = study_lines.common_settings(studied, study_lines.SETTINGS["gradients"])
  columns = list(logs.gradients.columns)
  both = [frame[columns] for frame in (logs.gradients, studied) if len(frame)]
  captured = pd.concat(both, ignore_index=True) if both else logs.gradients
  return captured.assign(ratio=captured["norm"] / captured["weight_norm"]).dropna(subset=["norm"])


def _by_layer(logs: Logs, curves: pd.DataFrame, name: str, title: str, label: str) -> Panel:
  relative = curves.assign(position=curves["position"] / curves["layers"])
  labels = (name, f"{title} by layer", "relative depth (layer / number of layers)", label)
  return line_panel(logs, relative, "position", labels, LineOptions(log=True))


def _findings(networks: Iterable[Network], curves: pd.DataFrame) -> tuple[str, ...]:
  return tuple(_sentence(net, curves) for net in networks)


def _sentence(net: Network, curves: pd.DataFrame) -> str:
  curve = curves[curves["net"] == net.key].sort_values("position")
  first, last = curve.iloc[0], curve.iloc[-1]
  ratio = first["mean"] / last["mean"]
  words = f"{formats.figures(ratio, 2)} times" if ratio >= 1 else f"1/{formats.figures(1 / ratio, 2)} of"
  return (
    f"{net.label}, step {formats.count(curve['step'].iloc[0])}: the gradient norm of the first layer is {words} that "
    "of the last layer."
  )
