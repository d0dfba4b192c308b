"""Layer responses (Fig. 7), as recorded in training and as measured in other ways by studies."""

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
from resjax.analysis.sections.depth_panel import depth_panel
from resjax.analysis.sections.section import Section, join_words, run_commands, study_commands

_TITLE = "Layer responses"
_NONE = "No responses have been recorded yet."
_INDEPENDENT = (
  "If all blocks added independent parts of equal size to a sum that does not depend on depth, the exponent would be "
  f"{formats.number(response_scaling.INDEPENDENT_BLOCKS_EXPONENT, 1)}."
)


def build(logs: Logs) -> Section | None:
  """Builds the section on layer responses, even if none have been recorded yet; None for detectors."""
  if len(logs.average_precision):
    return None
  data = {"responses_original": response_curves(logs, "original"), "responses_sorted": response_curves(logs, "sorted")}
  panels = figures.figure7(logs)
  if not panels:
    studied = bool(measurements.other_measurements(logs))
    words = "No responses were recorded in training, but studies measured them." if studied else _NONE
    return Section("responses", _TITLE, (words,), data=data)
  means = response_history.final_mean_responses(logs)  # networks still in training would distort the fit
  fitted = response_scaling.fit_response_scaling(means)
  if len(means["depth"].unique()) > 1:
    panels.append(
      depth_panel(logs, means, "mean", fitted, ("responses-by-depth", "Mean response by depth", "mean response"))
    )
  return Section(
    key="responses",
    title=_TITLE,
    findings=(findings := _findings(means, fitted)),
    headlines=findings[:2],
    caption=_caption(logs, data["responses_original"]),
    panels=tuple(panels),
    data={**data, "mean_responses": means, "response_scaling": fitted},
    commands=run_commands(logs),
  )


def other_measurements(logs: Logs) -> Section | None:
  """Builds the section on responses that studies measured in other ways; None if there are none."""
  others = measurements.other_measurements(logs)
  if not others:
    return None
  panels, data, findings = [], {}, []
  for number, measurement in enumerate(others, 1):
    title = f"Measurement {number}"
    findings.append(f"{title}: {measurements.describe(measurement)}.")
    for order, suffix, words in (("original", "", ""), ("sorted", "-sorted", ", sorted by size")):
      curves = response_curves(logs, order, measurement)
      data[f"measurement{number}{suffix.replace('-', '_')}"] = curves
      if not curves.empty:
        name = f"fig7-measurement{number}{suffix}"
        panels.append(figures.response_panel(name, f"{title}{words}", curves, logs.networks))
    means = response_history.mean_responses(logs, measurement)
    fitted = response_scaling.fit_response_scaling(means)
    data |= {f"measurement{number}_means": means, f"measurement{number}_scaling": fitted}
    findings += [f"{title}: {_means_sentence(means)}."] if len(means) else []
    findings += [f"{title}: {_trend(row)}" for row in fitted.to_dict("records")]
  return Section(
    key="measurements",
    title="Responses measured in other ways",
    findings=tuple(findings),
    caption="The paper does not state which images, batch statistics and layers Fig. 7 was measured with. "
    f"{_INDEPENDENT}",
    panels=tuple(panels),
    data=data,
    commands=study_commands(logs, "responses"),
  )


def _findings(means: pd.DataFrame, fitted: pd.DataFrame) -> tuple[str, ...]:
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
    comparison = "smaller than" if smaller else "not smaller than"
    text = f"The mean response of the residual network is {comparison} that of the plain network at "
    text += f"{join_words(smaller or larger)} layers"
    text += f", but not at {join_words(larger)}" if smaller and larger else ""
    sentences.append(f"{text}.")
  sentences += [_trend(row) for row in fitted.to_dict("records")]
  return tuple(sentences) or tuple(
    f"The mean response of {row['label']} is {formats.figures(row['mean'])}." for row in _network_means(means)
  )


def _trend(row: Mapping[Any, Any]) -> str:
  """Describes how the mean response changes with depth, given a row of `fit_response_scaling`."""
  trend = "falls with depth" if row["high"] < 0 else "rises with depth" if row["low"] > 0 else "shows no trend in depth"
  return (
    f"The mean response of {row['series']} networks {trend}: fitted exponent {formats.number(row['exponent'])} "
    f"({seed_statistics.LEVEL:.0%} interval {formats.number(row['low'])} to {formats.number(row['high'])}; "
    f"{row['depths']} depths, {row['runs']} runs)."
  )


def _means_sentence(means: pd.DataFrame) -> str:
  values = (f"{formats.figures(row['mean'])} in {row['label']}" for row in _network_means(means))
  return f"the mean response is {join_words(values)}"


def _network_means(means: pd.DataFrame) -> list[dict[Any, Any]]:
  return means.groupby("label", sort=False)["mean"].mean().reset_index().to_dict("records")


def _caption(logs: Logs, curves: pd.DataFrame) -> str:
  caption = (
    "Fig. 7: standard deviation of each 3×3 layer’s response, after batch normalization and before nonlinearity or "
    "addition. Solid: residual networks, dashed: plain networks."
  )
  known = measurements.measurements_of(measurements.measured_responses(logs))
  words = " or ".join(filter(None, map(measurements.describe, known)))
  if words:
    caption += f" Measured with {words}."
  if len(curves["depth"].unique()) > 1:
    caption += f" {_INDEPENDENT}"
  if (curves["layers"] > plotting.MAX_POINTS).any():
    dense = f"more than {plotting.MAX_POINTS} layers"
    caption += f" Networks of {dense} are drawn as means of neighboring layers, with their range as a band."
  if (curves["runs"] > 1).any():
    caption += " Bands: range over seeds."
  unfinished = unfinished_captures(logs)
  return f"{caption} Not yet fully trained: {unfinished}." if unfinished else caption


def unfinished_captures(logs: Logs) -> str:
  """Lists the networks whose latest responses were recorded before the end of training, with their steps."""
  steps = logs.responses.groupby("net")["step"].max()
  total = logs.runs.groupby("net")["steps"].max().astype("float64")
  return ", ".join(
    f"{net.label} at step {formats.count(steps[net.key])} of {formats.count(total[net.key])}"
    for net in logs.networks
    if net.key in steps and steps[net.key] != total[net.key]
  )
