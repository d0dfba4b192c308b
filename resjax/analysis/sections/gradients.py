"""Gradient flow: how strong the loss's gradient is at each layer, and against the weights, through training."""

import pandas as pd

from resjax.analysis import formats
from resjax.analysis.curves import last_capture, layer_curves
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import Panel
from resjax.analysis.sections import through_training
from resjax.analysis.sections.section import Section, line_panel, plotted_networks, run_commands, study_commands

_MEASURES = {"norm": ("Gradient", "gradient norm"), "ratio": ("Gradient to weight", "gradient norm / weight norm")}


def build(logs: Logs) -> Section | None:
  """None where no gradient was captured, in training or by a study."""
  captured = gradients(logs)
  if captured.empty:
    return None
  last = last_capture(captured)
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
    findings=tuple(_said(net, data["gradient_norm"]) for net in plotted_networks(logs, data["gradient_norm"])),
    caption="The norm of the loss’s gradient by the weights of each layer, and the same as a share of the weights’ own "
    "norm, each net at its last capture: a curve that falls to the left is a gradient that vanishes on its way back, "
    "one that rises to the left a gradient that explodes. A shortcut carries it back whole.",
    panels=tuple(panels),
    data=data,
    commands=run_commands(logs) if len(logs.gradients) else study_commands(logs, "gradients"),
  )


def gradients(logs: Logs) -> pd.DataFrame:
  """Norms captured in training, and of nets without those what a study measured; with `ratio`, norm / weight_norm.

  Of several settings of a study the first is taken.
  """
  studied = logs.studies["gradients"]
  studied = studied[~studied["net"].isin(set(logs.gradients["net"]))]
  if len(studied):
    settings = ["images", "batch_size", "mode"]
    first = studied.drop_duplicates("net")[["net", *settings]]
    studied = studied.merge(first, on=["net", *settings])
  columns = list(logs.gradients.columns)
  both = [frame[columns] for frame in (logs.gradients, studied) if len(frame)]
  captured = pd.concat(both, ignore_index=True) if both else logs.gradients
  return captured.assign(ratio=captured["norm"] / captured["weight_norm"]).dropna(subset=["norm"])


def _by_layer(logs: Logs, curves: pd.DataFrame, name: str, title: str, label: str) -> Panel:
  share = curves.assign(position=(curves["position"] - 1) / (curves["layers"] - 1).clip(lower=1))
  axes = ("layer, as a fraction of the net’s", label)
  return line_panel(logs, share, "position", name, f"{title} by layer", axes, log=True)


def _said(net: Network, curves: pd.DataFrame) -> str:
  own = curves[curves["net"] == net.key].sort_values("position")
  first, last = own.iloc[0], own.iloc[-1]
  times = first["mean"] / last["mean"]
  words = f"{formats.figures(times, 2)} times" if times >= 1 else f"1/{formats.figures(1 / times, 2)} of"
  return (
    f"{net.label}, step {formats.count(own['step'].iloc[0])}: the first layer’s gradient is {words} the last one’s."
  )
