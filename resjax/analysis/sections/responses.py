"""Layer responses: the paper's Fig. 7, in training's reading and in the others that were captured."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from resjax.analysis import (
  figures,
  formats,
  measurements,
  plotting,
  response_history,
  response_scaling,
  seed_statistics,
)
from resjax.analysis.curves import response_curves
from resjax.analysis.logs import Logs
from resjax.analysis.networks import label_networks
from resjax.analysis.sections.depth_panel import depth_panel
from resjax.analysis.sections.section import Section, join_words, run_commands, study_commands

_TITLE = "Layer responses"
_INDEPENDENT = (
  "If a net’s blocks added independent parts of equal size to a sum that is as large at every depth, the mean response "
  f"would go as depth to the power {formats.number(response_scaling.INDEPENDENT_BLOCKS_EXPONENT, 1)}."
)


def build(logs: Logs) -> Section:
  """Also there when nothing was captured yet: then it says so."""
  data = {"responses_original": response_curves(logs, "original"), "responses_sorted": response_curves(logs, "sorted")}
  panels = figures.figure7(logs)
  if not panels:
    return Section("responses", _TITLE, ("No run has captured its responses yet.",), data=data)
  means = response_history.mean_responses(logs)
  ended = means["id"].map(logs.runs.set_index("id")["steps"]) == means["step"]
  means = means[ended.fillna(False)]  # a net that is still training would bend the curve over depths
  fitted = response_scaling.fit_response_scaling(means)
  if len(means["depth"].unique()) > 1:
    panels.append(
      depth_panel(
        logs, means, "mean", fitted, "responses-by-depth", ("Mean over the layers, by depth", "mean response")
      )
    )
  return Section(
    key="responses",
    title=_TITLE,
    findings=_says(means, fitted),
    caption=_caption(logs, data["responses_original"]),
    panels=tuple(panels),
    data={**data, "mean_responses": means, "response_decay": fitted},
    commands=run_commands(logs),
  )


def other_measurements(logs: Logs) -> Section | None:
  """The same nets read otherwise, by studies of their checkpoints; None where there is no other reading."""
  others = measurements.distinct_measurements(logs)[1:] if len(logs.studies["responses"]) else []
  if not others:
    return None
  panels, data, says = [], {}, []
  for number, reading in enumerate(others, 1):
    title = f"Reading {number}"
    says.append(f"{title}: {measurements.describe(reading)}.")
    for order, suffix, words in (("original", "", ""), ("sorted", "-sorted", ", sorted by size")):
      curves = response_curves(logs, order, reading)
      data[f"reading{number}{suffix.replace('-', '_')}"] = curves
      if not curves.empty:
        name = f"fig7-reading{number}{suffix}"
        panels.append(figures.response_panel(name, f"{title}{words}", curves, label_networks(logs.runs)))
    means = response_history.mean_responses(logs, reading)
    fitted = response_scaling.fit_response_scaling(means)
    data |= {f"reading{number}_means": means, f"reading{number}_decay": fitted}
    says += [f"{title}: {_by_net(means)}."] if len(means) else []
    says += [f"{title}: over {_falls(row)}." for row in fitted.to_dict("records")]
  return Section(
    key="readings",
    title="Other readings of the responses",
    findings=tuple(says),
    caption="The paper does not say which images, statistics and layers its Fig. 7 is of. Does its finding hold in "
    f"all? {_INDEPENDENT}",
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
    said = f"At {join_words(smaller or larger)} layers the residual net’s mean response is "
    said += "smaller " if smaller else "not smaller "
    said += "than the plain net’s" + (f"; at {join_words(larger)} it is not" if smaller and larger else "")
    sentences.append(f"{said}.")
  sentences += [f"Over {_falls(row)}." for row in fitted.to_dict("records")]
  return tuple(sentences) or tuple(
    f"{row['label']}: the mean response is {formats.figures(row['mean'])}." for row in _each_net(means)
  )


def _falls(row: Mapping[Any, Any]) -> str:
  """Over which depths the mean response falls, and how, from a row of `response_scaling.fit_response_scaling`."""
  clear = "falls" if row["high"] < 0 else "rises" if row["low"] > 0 else "neither clearly falls nor rises"
  return (
    f"{row['depths']} depths ({row['series']}, {row['runs']} runs) the mean response {clear} with depth: it "
    f"goes as depth to the power {formats.number(row['exponent'])} ({seed_statistics.LEVEL:.0%} interval "
    f"{formats.number(row['low'])} to {formats.number(row['high'])})"
  )


def _by_net(means: pd.DataFrame) -> str:
  said = (f"{formats.figures(row['mean'])} in {row['label']}" for row in _each_net(means))
  return f"the mean response is {join_words(said)}"


def _each_net(means: pd.DataFrame) -> list[dict[Any, Any]]:
  return means.groupby("label", sort=False)["mean"].mean().reset_index().to_dict("records")


def _caption(logs: Logs, curves: pd.DataFrame) -> str:
  caption = (
    "How strongly each 3×3 layer responds after batch normalization, as in the paper’s Fig. 7: do the solid residual "
    "curves lie below the dashed plain ones, and lower still the deeper the net?"
  )
  known = measurements.distinct_measurements(logs)
  words = measurements.describe(known[0]) if known else ""
  if words:
    caption += f" Read so: {words}."
  if len(curves["depth"].unique()) > 1:
    caption += f" {_INDEPENDENT}"
  if (curves["layers"] > plotting.MAX_POINTS).any():
    dense = f"more than {plotting.MAX_POINTS} layers"
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
    for net in label_networks(logs.runs)
    if net.key in steps and steps[net.key] != total[net.key]
  )
