"""Selection of log lines: those of the last step, and those of one choice of settings where a study has several."""

from collections.abc import Sequence

import pandas as pd

from resjax.analysis.logs import Logs

_LOSS = ("images", "source", "mode", "batch_size", "draw_seed")  # of studies of the loss
# Columns of the settings that the numbers of a study depend on, by the name of its log.
SETTINGS = {
  "blocks": ("images", "mode", "source", "batch_size", "pooling"),
  "gradients": ("images", "batch_size", "mode"),
  "paths": ("images", "source"),
  "landscape": _LOSS,
  "hessian": (*_LOSS, "eigenvalues", "max_iterations"),
  "spectrum": (*_LOSS, "iterations"),
  "trace": _LOSS,
  "trajectory": ("checkpoints", "images", "source", "batch_size"),
  "layers": ("images", "test_images", "every", "cka_images"),
  "cka": ("tile", "other_step", "other_tile", "other_digest", "test_images", "every", "cka_images"),
  "init": ("images", "draw_seed"),
}


def last_capture(captured: pd.DataFrame) -> pd.DataFrame:
  """Returns the lines of each network's last recorded step."""
  return captured[captured["step"] == captured.groupby("net")["step"].transform("max")]


def of_last_step(logs: Logs, log: str, within: Sequence[str] = ("net",)) -> pd.DataFrame:
  """Returns the lines of a study at the last step of each network, with one choice of settings for each network.

  Args:
    logs: Logs of one experiment.
    log: Name of the study's log, a key of `SETTINGS`.
    within: See `common_settings`.
  """
  return common_settings(last_capture(logs.studies[log]), SETTINGS[log], within)


def common_settings(lines: pd.DataFrame, settings: Sequence[str], within: Sequence[str] = ("net",)) -> pd.DataFrame:
  """Returns the lines of each network with one choice of settings, so that other choices are not averaged as seeds.

  The choice is the one with which most captures (run and step) of all networks were studied, so that networks can be
  compared. Of equally frequent ones, it is that with most lines, because an interrupted study has fewer, and then the
  latest.

  Args:
    lines: Lines of a study.
    settings: Columns of the settings.
    within: Columns whose combinations of values each have one choice.
  """
  ordered = lines.reset_index(drop=True)
  lines_of = ordered.groupby(list(settings), dropna=False)["id"].transform("size")
  captures = ordered.assign(lines=lines_of).drop_duplicates(["id", "step", *within, *settings], keep="last")
  captures = captures[[*within, *settings, "lines"]].assign(row=captures.index)
  by_settings = captures.groupby(list(settings), dropna=False)["row"]
  captures = captures.assign(count=by_settings.transform("size"), row=by_settings.transform("max"))
  chosen = captures.sort_values(["count", "lines", "row"]).drop_duplicates(list(within), keep="last")
  keys = [*within, *settings]
  return ordered.merge(chosen[keys], on=keys)


def settings_note(logs: Logs, lines: pd.DataFrame, settings: Sequence[str]) -> str:
  """Returns a sentence that lists the settings of each network, with a leading space; "" if all networks share them.

  Args:
    logs: Logs of one experiment.
    lines: Lines of a study with one choice of settings for each network, see `common_settings`.
    settings: Columns of the settings.
  """
  by_net = {net: part[list(settings)].drop_duplicates() for net, part in lines.groupby("net")}
  labels: dict[str, list[str]] = {}
  for net in logs.networks:
    if net.key in by_net:
      labels.setdefault(_description(by_net[net.key]), []).append(net.label)
  if len(labels) < 2:
    return ""
  groups = "; ".join(f"{words} for {', '.join(nets)}" for words, nets in labels.items())
  return f" Settings differ: {groups}."


def _description(settings: pd.DataFrame) -> str:
  """Returns the known settings in words, such as "images 2000, source test"."""
  words = {}
  for key in settings:
    values = settings[key].dropna().unique()
    if len(values):
      words[str(key).replace("_", " ")] = " and ".join(str(value) for value in values)
  return ", ".join(f"{key} {value}" for key, value in words.items())
