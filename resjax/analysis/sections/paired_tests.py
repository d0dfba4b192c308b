"""Paired tests over seeds: effects of depth, of shortcuts and of single settings."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from resjax.analysis import formats, seed_statistics
from resjax.analysis.logs import Logs
from resjax.analysis.networks import key_without_depth, swept_settings
from resjax.analysis.sections.section import Column, Section, Table, join_words, percentage_points, run_commands

_COLUMNS = (
  *(Column("network", number=False), Column("compared with", number=False), Column("error", number=False)),
  *(Column("seeds"), Column("difference", "in points"), Column(f"{seed_statistics.LEVEL:.0%} interval", "over seeds")),
  *(Column("sampling", "of the difference"), Column("p", "Holm"), Column("verdict", number=False)),
)
_MAX_ROWS = 8  # of a table that is not folded
_ONE_SEED_COLUMNS = ("network", "compared with", "error", "difference", "sampling")
_MEASURES = {"test": "test", "train": "training"}
_VERDICTS = {
  (seed_statistics.DEPTH, seed_statistics.WORSE): "deeper is worse",
  (seed_statistics.DEPTH, seed_statistics.BETTER): "deeper is better",
  (seed_statistics.SHORTCUT, seed_statistics.WORSE): "the shortcut hurts",
  (seed_statistics.SHORTCUT, seed_statistics.BETTER): "the shortcut helps",
}
_CAPTION = (
  "Paired t test over seeds: each seed of one network is paired with the same seed of the other, and the p values of "
  "one question are corrected together (Holm). Interval and p value describe the variation between seeds, the "
  "sampling error that between test sets. Only a difference that exceeds both is evidence."
)


def depth(logs: Logs) -> Section | None:
  """Builds the section on depth and shortcuts; None if no two finished networks differ only in one of them."""
  table = _comparisons_on(logs, seed_statistics.DEPTH, seed_statistics.SHORTCUT)
  if table.empty:
    return None
  deeper, shortcut = _depth_findings(table), _shortcut_findings(table)
  return Section(
    key="depth",
    title="Effect of depth",
    findings=(*deeper, *shortcut),
    headlines=(*deeper, *shortcut[-1:]),
    caption=_CAPTION,
    tables=tuple(
      _table(caption, part)
      for question, caption in (
        (seed_statistics.DEPTH, "Error of the deeper network minus that of the shallower one."),
        (seed_statistics.SHORTCUT, "Error of the residual network minus that of the plain network of the same depth."),
      )
      if len(part := table[table["question"] == question])
    ),
    data={"comparisons": table},
    commands=run_commands(logs),
  )


def settings(logs: Logs) -> Section | None:
  """Builds the section on swept settings; None if no finished network has a counterpart without them.

  If a network has several swept settings, their effects cannot be separated, and the section says so.
  """
  table = _comparisons_on(logs, seed_statistics.SETTING)
  if table.empty:
    return None
  depths = {net.key: net.depth for net in logs.networks}
  together = any(len(swept_settings(key, depths[key])) > 1 for key in table["net"])
  caption = "Error with the setting minus that without it."
  if together:
    caption = "Error with the settings minus that without them; several settings are compared as a whole."
  return Section(
    key="settings",
    title="Difference from the recipe" if together else "Effect of each setting",
    findings=(findings := _settings_findings(table)),
    headlines=findings[:2],
    caption=_CAPTION,
    tables=(_table(caption, table),),
    data={"settings": table},
    commands=run_commands(logs),
  )


def _comparisons_on(logs: Logs, *questions: str) -> pd.DataFrame:
  table = seed_statistics.comparisons(logs)
  return table[table["question"].isin(questions)]


def _table(caption: str, table: pd.DataFrame) -> Table:
  """Returns the table of one question; with one seed per network it is folded and has no intervals and p values."""
  rows = [_row(row) for row in table.to_dict("records")]
  if (table["seeds"] > 1).any():
    return Table(caption, _COLUMNS, rows, folded=len(rows) > _MAX_ROWS)
  kept = [index for index, column in enumerate(_COLUMNS) if column.title in _ONE_SEED_COLUMNS]
  columns = tuple(_COLUMNS[index] for index in kept)
  return Table(f"{caption} One seed each.", columns, [[row[index] for index in kept] for row in rows], folded=True)


def _row(row: dict) -> list[str]:
  known = not pd.isna(row["low"])
  return [
    *(row["label"], row["than_label"], _MEASURES[row["measure"]], str(row["seeds"])),
    formats.signed(100 * row["difference"]),
    f"{formats.signed(100 * row['low'])} to {formats.signed(100 * row['high'])}" if known else formats.MISSING,
    formats.percent(row["sampling_error"], before="± "),
    formats.MISSING if pd.isna(row["p_holm"]) else f"{row['p_holm']:.2g}",
    row["verdict"],
  ]


def _depth_findings(table: pd.DataFrame) -> list[str]:
  """Returns sentences that compare the deepest with the shallowest network, one for each series."""
  deeper = table[table["question"] == seed_statistics.DEPTH]
  return _sentences(rows for _, rows in deeper.groupby(deeper["net"].map(key_without_depth), sort=False))


def _shortcut_findings(table: pd.DataFrame) -> list[str]:
  """Returns sentences that compare the residual with the plain network, one for each depth, shallow first."""
  shortcut = table[table["question"] == seed_statistics.SHORTCUT]
  return _sentences(rows for _, rows in shortcut.groupby("net", sort=False))


def _sentences(comparisons: Iterable[pd.DataFrame]) -> list[str]:
  """Returns a sentence for the last pair of each group of rows, which for depths is that of the extremes."""
  sentences = []
  for rows in comparisons:
    test = rows[rows["measure"] == "test"]
    train = rows[rows["measure"] == "train"]
    if len(test):
      sentences.append(_sentence(test.iloc[-1], train.iloc[-1] if len(train) else None))
  return sentences


def _sentence(test: pd.Series, train: pd.Series | None) -> str:
  text = f"{_difference(test, 1)}"
  if test["seeds"] < 2:
    if not pd.isna(test["sampling_error"]):
      beyond = abs(test["difference"]) > 2 * test["sampling_error"]
      text += ", more than" if beyond else ", which is within"
      text += " the sampling error of the test set" + (" explains" if beyond else "")
    text += " (one seed each)"
  else:
    interval = f"{formats.signed(100 * test['low'], 1)} to {formats.signed(100 * test['high'], 1)}"
    text += f" ({seed_statistics.LEVEL:.0%} interval {interval}, {test['seeds']} seeds): "
    text += _VERDICTS.get((test["question"], test["verdict"]), _undecided(test))
  if train is not None and test["difference"] > 0 and train["difference"] > 0:
    text += f". Its training error is also higher, by {percentage_points(train['difference'])}"
    text += ", so this is not overfitting" if train["verdict"] == seed_statistics.WORSE else ""
  return text + "."


def _difference(row: Mapping[Any, Any] | pd.Series, digits: int) -> str:
  """Describes the difference of two test errors: "The test error of A is 1.2 points lower than that of B"."""
  direction = "higher" if row["difference"] > 0 else "lower"
  size = percentage_points(row["difference"], digits)
  return f"The test error of {row['label']} is {size} {direction} than that of {row['than_label']}"


def _undecided(test: pd.Series) -> str:
  if test["p"] < seed_statistics.SIGNIFICANT:  # significant only without the correction
    return f"not significant once all pairs are corrected for (Holm p = {test['p_holm']:.2g})"
  if pd.isna(test["p"]):
    return "not testable, because all seeds give the same difference"
  return "not significant"


def _settings_findings(table: pd.DataFrame) -> tuple[str, ...]:
  """Returns a sentence for each network with a significant difference, and lists of the others and the untested."""
  test = table[table["measure"] == "test"]
  significant = test[test["verdict"].isin([seed_statistics.BETTER, seed_statistics.WORSE])]
  sentences = [f"{_difference(row, 2)}, a significant difference." for row in significant.to_dict("records")]
  undecided = test[test["verdict"] == seed_statistics.UNDECIDED]
  if len(undecided):
    sentences.append(f"No significant difference from the recipe: {join_words(undecided['label'])}.")
  untested = test[test["verdict"] == seed_statistics.UNTESTED].to_dict("records")
  if untested:
    differences = join_words(f"{row['label']} ({formats.signed(100 * row['difference'])} points)" for row in untested)
    sentences.append(f"One seed each, not tested: {differences}.")
  return tuple(sentences)
