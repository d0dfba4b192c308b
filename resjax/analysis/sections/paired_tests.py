"""Is deeper better or worse, and what does a single setting change? Paired tests over the seeds."""

import pandas as pd

from resjax.analysis import formats, seed_statistics
from resjax.analysis.logs import Logs
from resjax.analysis.networks import key_without_depth
from resjax.analysis.sections.section import Column, Section, Table, join_words, percentage_points, run_commands

_COLUMNS = (
  *(Column("net", number=False), Column("less", number=False), Column("error", number=False)),
  *(Column("seeds"), Column("difference", "in points"), Column(f"{seed_statistics.LEVEL:.0%} interval", "over seeds")),
  *(Column("sampling", "of the difference"), Column("p", "Holm"), Column("verdict", number=False)),
)
_MEASURES = {"test": "test", "train": "training"}
_VERDICTS = {
  (seed_statistics.DEPTH, seed_statistics.WORSE): "deeper is worse",
  (seed_statistics.DEPTH, seed_statistics.BETTER): "deeper is better",
  (seed_statistics.SHORTCUT, seed_statistics.WORSE): "the shortcut harms",
  (seed_statistics.SHORTCUT, seed_statistics.BETTER): "the shortcut helps",
}
_PAIRED = (
  "Each seed of one net is paired with the same seed of the other, Student’s t of the differences; p values of one "
  "question are corrected together (Holm). Interval and p tell how far another set of seeds could move the difference; "
  "the sampling error beside them, how far another test set could. A difference has to beat both."
)


def depth(logs: Logs) -> Section | None:
  """None where no two finished nets differ in depth or in their shortcuts only."""
  table = _about(logs, seed_statistics.DEPTH, seed_statistics.SHORTCUT)
  if table.empty:
    return None
  return Section(
    key="depth",
    title="Deeper: better or worse?",
    findings=_depth_says(table),
    caption=_PAIRED,
    tables=tuple(
      _table(caption, part)
      for question, caption in (
        (seed_statistics.DEPTH, "The deeper net’s error less the shallower one’s."),
        (seed_statistics.SHORTCUT, "The residual net’s error less that of the plain net of the same depth."),
      )
      if len(part := table[table["question"] == question])
    ),
    data={"comparisons": table},
    commands=run_commands(logs),
  )


def settings(logs: Logs) -> Section | None:
  """None where no two finished nets differ in a swept setting only."""
  table = _about(logs, seed_statistics.SETTING)
  if table.empty:
    return None
  return Section(
    key="settings",
    title="What each setting changes",
    findings=_settings_say(table),
    caption=_PAIRED,
    tables=(_table("The error with the setting less that without it.", table),),
    data={"settings": table},
    commands=run_commands(logs),
  )


def _about(logs: Logs, *questions: str) -> pd.DataFrame:
  table = seed_statistics.comparisons(logs)
  return table[table["question"].isin(questions)]


def _table(caption: str, table: pd.DataFrame) -> Table:
  return Table(caption, _COLUMNS, [_row(row) for row in table.to_dict("records")])


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


def _depth_says(table: pd.DataFrame) -> tuple[str, ...]:
  """A sentence for each kind of net, its deepest against its shallowest, and for the shortcut at each depth."""
  deeper = table[table["question"] == seed_statistics.DEPTH]
  # The widest pair of a series stands last among its rows.
  pairs = [rows for _, rows in deeper.groupby(deeper["net"].map(key_without_depth), sort=False)]
  pairs += [rows for _, rows in table[table["question"] == seed_statistics.SHORTCUT].groupby("net", sort=False)]
  sentences = []
  for rows in pairs:
    test = rows[rows["measure"] == "test"]
    train = rows[rows["measure"] == "train"]
    if len(test):
      sentences.append(_sentence(test.iloc[-1], train.iloc[-1] if len(train) else None))
  return tuple(sentences)


def _sentence(test: pd.Series, train: pd.Series | None) -> str:
  more = "more" if test["difference"] > 0 else "less"
  said = (
    f"{test['label']} errs {percentage_points(test['difference'])} {more} than {test['than_label']} on the test set"
  )
  if test["seeds"] < 2:
    apart = abs(test["difference"]) > 2 * test["sampling_error"]
    beyond = "more than the test set’s sampling error explains" if apart else "within the test set’s sampling error"
    said += f": {beyond}, but one seed says nothing of other seeds"
  else:
    interval = f"{formats.signed(100 * test['low'], 1)} to {formats.signed(100 * test['high'], 1)}"
    said += f" ({seed_statistics.LEVEL:.0%} interval {interval} over {test['seeds']} seeds): "
    said += _VERDICTS.get((test["question"], test["verdict"]), _undecided(test))
  if train is not None and test["difference"] > 0 and train["difference"] > 0:
    said += f". Its training error is higher too, by {percentage_points(train['difference'])}"
    said += ", so this is not overfitting" if train["verdict"] == seed_statistics.WORSE else ""
  return said + "."


def _undecided(test: pd.Series) -> str:
  if test["p"] < seed_statistics.SIGNIFICANT:  # the test alone would tell them apart
    return f"clear of zero, but not once the p values of all pairs are corrected together ({test['p_holm']:.2g})"
  if pd.isna(test["p"]):
    return "every seed gives the same difference, so that there is no test"
  return "the seeds do not tell them apart"


def _settings_say(table: pd.DataFrame) -> tuple[str, ...]:
  """A sentence on the settings the seeds tell from the recipe, and one on the others."""
  test = table[table["measure"] == "test"]
  told = test[test["verdict"].isin([seed_statistics.BETTER, seed_statistics.WORSE])]
  sentences = [
    f"{row['label']} errs {percentage_points(row['difference'], 2)} {'more' if row['difference'] > 0 else 'less'} than "
    f"{row['than_label']}, more than its seeds explain."
    for row in told.to_dict("records")
  ]
  rest = join_words(row["label"] for row in test.drop(told.index).to_dict("records"))
  if rest:
    sentences.append(f"Not told apart from the recipe by the seeds there are: {rest}.")
  return tuple(sentences)
