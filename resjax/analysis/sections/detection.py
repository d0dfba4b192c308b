"""Detection: average precision by backbone (Tables 7 and 8), precision against recall, and pictures of detections."""

import base64
import io

import numpy as np
import pandas as pd
from matplotlib import image as images
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from resjax.analysis import formats, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network, key_without_depth
from resjax.analysis.plotting import Panel
from resjax.analysis.sections.section import Column, Section, Table, plotted_networks, run_commands

SHOWN_CLASSES = 8  # of more classes the figure shows the mean curve only
SURE = 0.5  # score from which on a detection is drawn
RECALLS = np.linspace(0, 1, 101)
_COLUMNS = (
  *(Column("backbone", number=False), Column("seeds")),
  *(Column("mAP@.5", "%"), Column("mAP@[.5, .95]", "%"), Column("lowest to highest", "mAP@.5, %")),
)


def build(logs: Logs) -> Section | None:
  """Builds the section; None if no run is a detector."""
  scores = logs.average_precision[logs.average_precision["split"] == "test"]
  if scores.empty:
    return None
  last = scores[scores["step"] == scores.groupby("id")["step"].transform("max")]
  coco = set(logs.settings.loc[logs.settings["key"] == "data.name", "value"]) == {"coco"}
  by_run = _by_run(last, "coco_ap50" if coco else "ap50")
  networks = plotted_networks(logs, last)
  panels = [_curves(net, last[last["net"] == net.key]) for net in networks]
  pictures = [_pictures(logs, net) for net in networks]
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
      "Precision against recall at overlap 0.5. Pictures: detections with a score of at least 0.5 (solid) and objects "
      "(dotted) in the test images with the fewest and the most mistakes of the first seed."
    ),
    panels=(*panels, *(panel for panel in pictures if panel is not None)),
    tables=(_table(networks, by_run), _classes_table(networks, last, "coco_ap50" if coco else "ap50")),
    data=data,
    commands=run_commands(logs),
  )


def _by_run(last: pd.DataFrame, key: str) -> pd.DataFrame:
  """Returns mAP of each run: columns net, seed, map50, map."""
  grouped = last.groupby(["net", "seed"], sort=False)
  return grouped.agg(map50=(key, "mean"), map=("coco_ap", "mean")).reset_index()


def _table(networks: list[Network], by_run: pd.DataFrame) -> Table:
  rows = []
  for net in networks:
    own = by_run[by_run["net"] == net.key]
    spread = f"{formats.percent(own['map50'].min())} to {formats.percent(own['map50'].max())}" if len(own) > 1 else ""
    rows.append(
      [net.label, str(len(own)), formats.percent(own["map50"].mean()), formats.percent(own["map"].mean()), spread]
    )
  return Table("Mean average precision on the test images, in percent.", _COLUMNS, rows)


def _classes_table(networks: list[Network], last: pd.DataFrame, key: str) -> Table:
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
  return Table("Average precision of each class at overlap 0.5, in percent.", columns, rows, folded=True)


def _findings(networks: list[Network], by_run: pd.DataFrame) -> tuple[str, ...]:
  """Compares the shallowest and the deepest backbone of those that differ only in depth."""
  means = by_run.groupby("net")["map50"].mean()
  series: dict[str, list[Network]] = {}
  for net in networks:
    series.setdefault(key_without_depth(net.key.split("-blocks_")[0]), []).append(net)
  sentences = []
  for alike in series.values():
    first, last = alike[0], alike[-1]
    start, end = (formats.percent(means[net.key]) for net in (first, last))
    if first is last:
      sentences.append(f"{first.label} as backbone: mAP@.5 is {start} %.")
    else:
      verdict = (
        "a deeper backbone finds more" if means[last.key] > means[first.key] else "a deeper backbone finds no more"
      )
      sentences.append(
        f"From {first.label} to {last.label} as backbone, mAP@.5 changes from {start} to {end} %: {verdict}."
      )
  return tuple(sentences)


def _curves(net: Network, own: pd.DataFrame) -> Panel:
  """Draws precision against recall of each class, or their mean where there are many, of the first seed."""
  first = own[own["id"] == own["id"].iloc[0]].dropna(subset=["precision"])
  with style.panel() as (figure, axes):
    if len(first) <= SHOWN_CLASSES:
      for row, color in zip(first.to_dict("records"), style.series_colors(list(first["class"])).values(), strict=True):
        axes.plot(RECALLS, row["precision"], color=color, linewidth=1.8, label=row["class"])
      axes.legend(frameon=False)
    else:
      axes.plot(RECALLS, np.mean(list(first["precision"]), 0), linewidth=1.8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_title(net.label)
    return Panel(f"precision-{net.key}", style.to_svg(figure), f"{net.label}: precision against recall.")


def _pictures(logs: Logs, net: Network) -> Panel | None:
  """Draws the recorded images of the first seed of a network with objects and detections."""
  own = logs.pictures[(logs.pictures["net"] == net.key) & (logs.pictures["split"] == "test")]
  if own.empty:
    return None
  first = own[own["id"] == own["id"].iloc[0]]
  found = logs.detections[(logs.detections["id"] == first["id"].iloc[0]) & (logs.detections["split"] == "test")]
  names = sorted({item["class"] for objects in first["objects"] for item in objects} | set(found["class"]))
  colors = dict(zip(names, style.series_colors(names).values(), strict=True))
  columns = 3
  rows = -(-len(first) // columns)
  with style.panel() as (figure, axes):
    axes.axis("off")
    axes.set_title(net.label)
    for place, row in enumerate(first.to_dict("records")):
      across, down = place % columns, place // columns
      inner = axes.inset_axes((across / columns, 1 - (down + 1) / rows, 0.98 / columns, 0.95 / rows))
      _picture(inner, row, found[(found["image"] == row["image"]) & (found["score"] >= SURE)], colors)
    description = f"{net.label}: detections in {len(first)} test images, those with the fewest mistakes first."
    return Panel(f"pictures-{net.key}", style.to_svg(figure), description)


def _picture(axes: Axes, row: dict, found: pd.DataFrame, colors: dict[str, str]) -> None:
  pixels = images.imread(io.BytesIO(base64.b64decode(row["jpeg"])), format="jpeg")
  axes.imshow(pixels, extent=(0, row["width"], row["height"], 0))
  for item in row["objects"]:
    _frame(axes, item["box"], colors[item["class"]], 0.7, (0, (1, 1.5)))
  for each in found.to_dict("records"):
    _frame(axes, each["box"], colors[each["class"]], 1.1, "-")
  axes.set_xticks([])
  axes.set_yticks([])
  mistakes = int(row["wrong"])
  axes.set_title(f"{mistakes} mistake{'' if mistakes == 1 else 's'}", fontsize=6, pad=2)


def _frame(axes: Axes, box: list[float], color: str, width: float, dashes: object) -> None:
  left, top, right, bottom = box
  axes.add_patch(
    Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color, linewidth=width, linestyle=dashes)
  )
