"""Detection: average precision by backbone (Tables 7 to 11), precision against recall, images with detections."""

import pandas as pd

from resjax import paper
from resjax.analysis import formats, seed_statistics, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network, key_without_depth
from resjax.analysis.sections.detection_panels import depth_panel, picture_panel, precision_panel
from resjax.analysis.sections.section import Column, Section, Table, plotted_networks, run_commands

_INTERVAL = f"{seed_statistics.LEVEL:.0%} interval"
_ELEVEN_POINTS = Column("mAP@.5, 11 points", "%")
_COLUMNS = (
  *(Column("backbone", number=False), Column("classification error", "of the backbone, %"), Column("seeds")),
  *(Column("mAP@.5", "%"), Column(_INTERVAL, "of mAP@.5"), _ELEVEN_POINTS, Column("mAP@[.5, .95]", "%")),
)
_PAPER_COLUMNS = (
  *(Column("network", number=False), Column("detector", number=False), Column("trained on", number=False)),
  *(Column("tested on", number=False), Column("mAP@.5", "%"), _ELEVEN_POINTS, Column("mAP@[.5, .95]", "%")),
  Column("source", number=False),
)
# Definitions of average precision.
_COCO = "COCO's average precision, the mean over 101 recalls"
_VOC = "the area under the precision-recall curve, as in VOC 2010 and later"
_VOC_2007 = "11 points: the mean over eleven recalls, by which VOC 2007 is scored"


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no run is a detector."""
  scores = logs.average_precision[logs.average_precision["split"] == "test"]
  if scores.empty:
    return None
  last = scores[scores["step"] == scores.groupby("id")["step"].transform("max")]
  coco = set(logs.settings.loc[logs.settings["key"] == "data.name", "value"]) == {"coco"}
  key, definition = ("coco_ap50", _COCO) if coco else ("ap50", _VOC)
  by_run = _by_run(logs, last, key)
  networks = plotted_networks(logs, last)
  half_widths = {net.key: _half_width(by_run, (by_run["net"] == net.key).sum()) for net in networks}
  series = _series(networks)
  ends = {net.key: net for group in series for net in (group[0], group[-1])}
  colors = style.series_colors(list(last["class"].unique()))
  panels = [
    depth_panel(series, by_run, half_widths),
    *(precision_panel(net, last[last["net"] == net.key], colors) for net in networks),
    *(picture_panel(logs, net, colors) for net in ends.values()),
  ]
  data = {
    "detection": by_run,
    "average_precision": last.drop(columns="precision"),
  }
  return Section(
    key="detection",
    title="Detection",
    findings=_findings(networks, by_run),
    headlines=_findings(networks, by_run)[:1],
    caption=(
      "Precision against recall at an IoU of 0.5. Pictures: detections with a score of at least 0.5 (solid) and "
      "objects (dotted) in the test images with the fewest and the most mistakes of the first seed, for the shallowest "
      "and the deepest backbone of each kind."
    ),
    panels=tuple(panel for panel in panels if panel is not None),
    tables=(
      _table(networks, by_run, definition, _backbones_by_seed(logs)),
      _classes_table(networks, last, key, definition),
      _paper_table(),
    ),
    data=data,
    commands=run_commands(logs),
  )


def _by_run(logs: Logs, last: pd.DataFrame, key: str) -> pd.DataFrame:
  """Returns the scores of each run.

  Args:
    logs: Records of the runs.
    last: Average precision of each class after the last step.
    key: Column of the average precision at an IoU of 0.5.

  Returns:
    Frame of net, seed, map50 (mAP at an IoU of 0.5), map50_11_points (by the definition of VOC 2007), map (COCO), and
    backbone_error (classification error).
  """
  grouped = last.astype({"ap50_11_points": float}).groupby(["id", "net", "seed"], sort=False)
  by_run = grouped.agg(
    map50=(key, "mean"), map50_11_points=("ap50_11_points", "mean"), map=("coco_ap", "mean")
  ).reset_index()
  by_run["backbone_error"] = by_run["id"].map(logs.runs.set_index("id")["backbone_test_error"])
  return by_run.drop(columns="id")


def _half_width(by_run: pd.DataFrame, *counts: int) -> float:
  """Returns half the width of an interval of mAP, with a pooled deviation over seeds; see `pooled_half_width`."""
  return seed_statistics.pooled_half_width([list(runs["map50"]) for _, runs in by_run.groupby("net")], counts)


def _backbones_by_seed(logs: Logs) -> bool:
  """Returns whether the seeds of a detector start from differently trained backbones."""
  backbones = logs.runs[["net", "backbone_params_digest"]].dropna().drop_duplicates()
  return bool(backbones["net"].duplicated().any())


def _table(networks: list[Network], by_run: pd.DataFrame, definition: str, backbones_by_seed: bool) -> Table:
  rows = []
  for net in networks:
    runs = by_run[by_run["net"] == net.key]
    mean, half = runs["map50"].mean(), _half_width(by_run, len(runs))
    low, high = max(mean - half, 0.0), min(mean + half, 1.0)  # mAP is between 0 and 1
    interval = formats.MISSING if pd.isna(half) else f"{formats.percent(low)} to {formats.percent(high)}"
    of_backbone = formats.percent(runs["backbone_error"].mean())
    others = (formats.percent(runs[key].mean()) for key in ("map50_11_points", "map"))
    rows.append([net.label, of_backbone, str(len(runs)), formats.percent(mean), interval, *others])
  seeds = "seeds, each with a backbone of its own," if backbones_by_seed else "seeds of the detector,"
  excluded = "between test images" if backbones_by_seed else "between test images or between trainings of a backbone"
  caption = (
    f"Mean average precision on the test images. mAP@.5: {definition}. {_VOC_2007}. Intervals are over {seeds} with "
    f"one standard deviation for all backbones; they do not include the variation {excluded}."
  )
  return Table(caption, _COLUMNS, rows)


def _paper_table() -> Table:
  rows = []
  for each in paper.DETECTION:
    of_2007 = "2007" in each.tested_on
    scores = (None, each.map50, each.map) if of_2007 else (each.map50, None, each.map)
    names = each.network, each.detector, each.trained_on, each.tested_on
    rows.append([*names, *map(formats.percent, scores), each.source])
  caption = f"In the paper: mean average precision. mAP@.5 of VOC 2012: {_VOC}; of COCO: {_COCO}. {_VOC_2007}."
  return Table(caption, _PAPER_COLUMNS, rows, folded=True)


def _classes_table(networks: list[Network], last: pd.DataFrame, key: str, definition: str) -> Table:
  objects = last.drop_duplicates("class").set_index("class")["objects"]
  means = last.pivot_table(index="class", columns="net", values=key, aggfunc="mean", sort=False)
  columns = (Column("class", number=False), Column("objects"), *(Column(net.label) for net in networks))
  rows = [
    [
      str(name),
      formats.count(objects[name]),
      *("" if pd.isna(value := means.loc[name].get(net.key)) else formats.percent(value) for net in networks),
    ]
    for name in means.index
  ]
  caption = f"Average precision of each class at an IoU of 0.5, in percent: {definition}."
  return Table(caption, columns, rows, folded=True)


def _series(networks: list[Network]) -> list[list[Network]]:
  """Groups networks that differ only in depth, each group in the order of `networks`."""
  series: dict[str, list[Network]] = {}
  for net in networks:
    series.setdefault(key_without_depth(net.key.split("-blocks_")[0]), []).append(net)
  return list(series.values())


def _findings(networks: list[Network], by_run: pd.DataFrame) -> tuple[str, ...]:
  """Compares the shallowest and the deepest backbone of each series, and mAP with the classification errors."""
  means = by_run.groupby("net")[["map50", "backbone_error"]].mean()
  counts = by_run.groupby("net").size()
  sentences = []
  for group in _series(networks):
    first, last = group[0], group[-1]
    start, end = (formats.percent(means["map50"][net.key]) for net in (first, last))
    if first is last:
      sentences.append(f"{first.label} as backbone: mAP@.5 is {start} %.")
      continue
    gain = means["map50"][last.key] - means["map50"][first.key]
    half = _half_width(by_run, counts[first.key], counts[last.key])
    interval, verdict = "one seed each", "a test of the difference needs more seeds"
    if not pd.isna(half):
      low, high = (formats.signed(100 * end, 1) for end in (gain - half, gain + half))
      interval = f"{_INTERVAL} of the difference {low} to {high}"
      verdict = f"the detector with the deeper backbone is {'more' if gain > 0 else 'less'} accurate"
      verdict = verdict if abs(gain) > half else "no significant difference"
    sentences.append(
      f"From {first.label} to {last.label} as backbone, mAP@.5 changes from {start} to {end} % ({interval}): {verdict}."
    )
  known = means.dropna()
  if len(known) > 2 and (known.std() > 0).all():
    correlation = formats.number(known["map50"].corr(known["backbone_error"]))
    sentences.append(
      f"Over {len(known)} backbones, the correlation between mAP@.5 and classification error is {correlation}."
    )
  return tuple(sentences)
