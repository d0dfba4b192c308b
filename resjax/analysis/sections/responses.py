"""Layer responses: the paper's Fig. 7, in training's reading and in the others that were captured."""

import pandas as pd

from resjax.analysis import atlas, decay, drawing, figures, formats, readings, seeds, style
from resjax.analysis.curves import response_curves
from resjax.analysis.drawing import Panel
from resjax.analysis.frames import Logs
from resjax.analysis.nets import nets
from resjax.analysis.sections.section import Section, colors, drawn_nets, listed, run_commands, study_commands

_TITLE = "Layer responses"


def build(logs: Logs) -> Section:
  """Also there when nothing was captured yet: then it says so."""
  data = {"responses_original": response_curves(logs, "original"), "responses_sorted": response_curves(logs, "sorted")}
  panels = figures.figure7(logs)
  if not panels:
    return Section("responses", _TITLE, ("No run has captured its responses yet.",), data=data)
  means = atlas.mean_responses(logs)
  ended = means["id"].map(logs.runs.set_index("id")["steps"]) == means["step"]
  means = means[ended.fillna(False)]  # a net that is still training would bend the curve over depths
  fitted = decay.decay(means)
  if len(means["depth"].unique()) > 1:
    panels.append(_by_depth(logs, means, fitted))
  return Section(
    key="responses",
    title=_TITLE,
    says=_says(means, fitted),
    caption=_caption(logs, data["responses_original"]),
    panels=tuple(panels),
    data={**data, "mean_responses": means, "response_decay": fitted},
    commands=run_commands(logs),
  )


def other_readings(logs: Logs) -> Section | None:
  """The same nets read otherwise, by studies of their checkpoints; None where there is no other reading."""
  others = readings.readings(logs)[1:] if len(logs.studies["responses"]) else []
  if not others:
    return None
  panels, data = [], {}
  for number, reading in enumerate(others, 1):
    name = f"reading{number}"
    data[name] = response_curves(logs, "original", reading)
    if not data[name].empty:
      panels.append(figures.response_panel(f"fig7-{name}", f"Reading {number}", data[name], nets(logs.runs)))
  return Section(
    key="readings",
    title="Other readings of the responses",
    says=tuple(f"Reading {number}: {readings.said(reading)}." for number, reading in enumerate(others, 1)),
    caption="The paper does not say which images, statistics and layers its Fig. 7 is of. Does its finding hold in "
    "all?",
    panels=tuple(panels),
    data=data,
    commands=study_commands(logs, "responses"),
  )


def _says(means: pd.DataFrame, fitted: pd.DataFrame) -> tuple[str, ...]:
  sentences = []
  of_net = means.groupby(["kind", "depth"])["mean"].mean()
  both = [
    (depth, of_net["plain", depth], of_net["residual", depth])
    for depth in sorted(means["depth"].dropna().unique())
    if ("plain", depth) in of_net and ("residual", depth) in of_net
  ]
  if both:
    smaller = [f"{depth}" for depth, plain, residual in both if residual < plain]
    larger = [f"{depth}" for depth, plain, residual in both if residual >= plain]
    said = (
      f"At {listed(smaller or larger)} layers the residual net’s mean response is {'' if smaller else 'not '}smaller "
    )
    said += "than the plain net’s" + (f"; at {listed(larger)} it is not" if smaller and larger else "")
    sentences.append(f"{said}.")
  for row in fitted.to_dict("records"):
    clear = "falls" if row["high"] < 0 else "rises" if row["low"] > 0 else "neither clearly falls nor rises"
    sentences.append(
      f"Over {row['depths']} depths ({row['series']}, {row['runs']} runs) the mean response {clear} with depth: it "
      f"goes as depth to the power {formats.number(row['exponent'])} ({seeds.LEVEL:.0%} interval "
      f"{formats.number(row['low'])} to {formats.number(row['high'])})."
    )
  if not sentences:
    sentences = [f"{row['label']}: the mean response is {formats.figures(row['mean'])}." for row in _by_net(means)]
  return tuple(sentences)


def _by_net(means: pd.DataFrame) -> list[dict]:
  return means.groupby("label", sort=False)["mean"].mean().reset_index().to_dict("records")


def _caption(logs: Logs, curves: pd.DataFrame) -> str:
  caption = (
    "How strongly each 3×3 layer responds after batch normalization, as in the paper’s Fig. 7: do the solid residual "
    "curves lie below the dashed plain ones, and lower still the deeper the net?"
  )
  known = readings.readings(logs)
  words = readings.said(known[0]) if known else ""
  if words:
    caption += f" Read so: {words}."
  if (curves["layers"] > drawing.DENSE).any():
    dense = f"more than {drawing.DENSE} layers"
    caption += f" Nets of {dense} are drawn as the mean of neighboring layers, with a band over them."
  if (curves["runs"] > 1).any():
    caption += " Bands span the seeds."
  unfinished = unfinished_captures(logs)
  return f"{caption} Not yet at the end of training: {unfinished}." if unfinished else caption


def unfinished_captures(logs: Logs) -> str:
  """Names the nets whose responses are not those of a finished training, with the step."""
  steps = logs.responses.groupby("net")["step"].max()
  total = logs.runs.groupby("net")["steps"].max().astype("float64")
  return ", ".join(
    f"{net.label} at step {formats.count(steps[net.key])} of {formats.count(total[net.key])}"
    for net in nets(logs.runs)
    if net.key in steps and steps[net.key] != total[net.key]
  )


def _by_depth(logs: Logs, means: pd.DataFrame, fitted: pd.DataFrame) -> Panel:
  """Mean response against depth on logarithmic axes, a point a run, with the fitted powers."""
  color = colors(logs)
  with style.panel() as (figure, axes):
    for net in drawn_nets(logs, means):
      own = means[means["net"] == net.key]
      filled = color[net.series] if net.kind != "plain" else "none"
      axes.plot(own["depth"], own["mean"], "o", color=color[net.series], markerfacecolor=filled, markersize=6)
    for row in fitted.to_dict("records"):
      ends = [float(means["depth"].min()), float(means["depth"].max())]
      heights = [row["at_one"] * depth ** row["exponent"] for depth in ends]
      dashes = drawing.LINES.get(row["kind"], drawing.SOLID)
      axes.plot(ends, heights, color=style.FAINT, linewidth=1.2, linestyle=dashes)
    axes.set_xscale("log")
    drawing.log_scale(axes, means["mean"][means["mean"] > 0])
    depths = sorted(means["depth"].dropna().unique())
    axes.set_xticks([float(depth) for depth in depths], [str(depth) for depth in depths])
    axes.minorticks_off()
    axes.set_xlabel("depth")
    axes.set_ylabel("mean response")
    axes.set_title("Mean over the layers, by depth")
    drawing.line_key(axes, {"residual, filled": (drawing.SOLID, 1.2), "plain, open": (drawing.DASHED, 1.2)})
    description = "Mean over the layers of the response against depth, a point a run, with fitted powers of the depth."
    return Panel("responses-by-depth", style.to_svg(figure), description)
