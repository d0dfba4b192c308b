"""Panels of the section on detection: average precision by depth, precision against recall, images with detections."""

import base64
import io
import math
import re

import numpy as np
import pandas as pd
from matplotlib import image as images
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from resjax.analysis import plotting, style
from resjax.analysis.logs import Logs
from resjax.analysis.networks import Network
from resjax.analysis.plotting import Panel

MAX_CURVES = 8  # with more classes, the figure shows only their mean, and pictures have no legend
MIN_SCORE = 0.5  # of the detections that are drawn
JPEG_QUALITY = 70
RECALLS = np.linspace(0, 1, 101)


def depth_panel(series: list[list[Network]], by_run: pd.DataFrame, half_width: dict[str, float]) -> Panel | None:
  """Draws mAP against the depth of the backbone; None if no series has two depths.

  Args:
    series: Networks that differ only in depth, in order of depth, for each line.
    by_run: Columns net, map50; one row per run.
    half_width: Half the width of the interval of each network's mean, by its key; NaN if unknown.
  """
  series = [group for group in series if len(group) > 1]
  if not series:
    return None
  with style.panel() as (figure, axes):
    ends = []
    names = [_series_name(group[0]) for group in series]
    for (name, color), group in zip(style.series_colors(names).items(), series, strict=True):
      runs = [by_run[by_run["net"] == net.key]["map50"] * 100 for net in group]
      means = [values.mean() for values in runs]
      depths = [float(net.depth or 0) for net in group]
      widths = [100 * half_width[net.key] for net in group]
      dashes = plotting.line_style(group[0])
      axes.plot(depths, means, color=color, linewidth=1.8, linestyle=dashes)
      if not any(map(math.isnan, widths)):
        axes.errorbar(depths, means, widths, fmt="none", ecolor=color, elinewidth=1, capsize=3)
      for depth, values in zip(depths, runs, strict=True):
        axes.plot([depth] * len(values), values, "o", color=color, markersize=4)
      ends.append((float(means[-1]), name, color))
    plotting.log_integer_axis(axes, pd.Series([net.depth for group in series for net in group]), "depth of backbone")
    axes.set_ylim(max(axes.get_ylim()[0], 0), min(axes.get_ylim()[1], 102))
    axes.set_ylabel("mAP@.5 (%)")
    axes.set_title("Average precision by depth")
    style.label_line_ends(axes, ends)
    description = "mAP at an IoU of 0.5 against the depth of the backbone: a point per run, means with intervals."
    return Panel("map-by-depth", style.to_svg(figure), description)


def _series_name(net: Network) -> str:
  return net.label.split("-")[0] if net.kind in ("plain", "residual") else net.label


def precision_panel(net: Network, scores: pd.DataFrame, colors: dict[str, str]) -> Panel:
  """Draws precision against recall of the first seed, for each class or, with many classes, as their mean.

  Args:
    net: The network.
    scores: Average precision of its runs, a row per run and class.
    colors: Color of each class.
  """
  first = scores[scores["id"] == scores["id"].iloc[0]].dropna(subset=["precision"])
  with style.panel() as (figure, axes):
    if len(colors) <= MAX_CURVES:
      for row in first.to_dict("records"):
        axes.plot(RECALLS, row["precision"], color=colors[row["class"]], linewidth=1.8, label=row["class"])
      axes.legend(frameon=False)
    else:
      axes.plot(RECALLS, np.mean(list(first["precision"]), 0), linewidth=1.8)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_title(net.label)
    return Panel(f"precision-{net.key}", style.to_svg(figure), f"{net.label}: precision against recall.")


def picture_panel(logs: Logs, net: Network, colors: dict[str, str]) -> Panel | None:
  """Draws the recorded images of a network's first seed with objects and detections; None if there are none.

  Few classes have a legend; of many, the names are written at the boxes.

  Args:
    logs: Records of the runs.
    net: The network.
    colors: Color of each class.
  """
  pictures = logs.pictures[(logs.pictures["net"] == net.key) & (logs.pictures["split"] == "test")]
  if pictures.empty:
    return None
  first = pictures[pictures["id"] == pictures["id"].iloc[0]]
  detections = logs.detections[(logs.detections["id"] == first["id"].iloc[0]) & (logs.detections["split"] == "test")]
  detections = detections[detections["score"] >= MIN_SCORE]
  columns = 3
  rows = -(-len(first) // columns)
  with style.panel() as (figure, axes):
    axes.axis("off")
    axes.set_title(net.label)
    for index, row in enumerate(first.to_dict("records")):
      across, down = index % columns, index // columns
      inner = axes.inset_axes((across / columns, 1 - (down + 1) / rows, 0.98 / columns, 0.95 / rows))
      _draw_picture(inner, row, detections[detections["image"] == row["image"]], colors)
    if len(colors) <= MAX_CURVES:
      handles = [Line2D([], [], color=color, label=name) for name, color in colors.items()]
      axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(handles), fontsize=7)
    description = f"{net.label}: detections in {len(first)} test images, those with the fewest mistakes first."
    return Panel(f"pictures-{net.key}", _with_jpegs(style.to_svg(figure)), description)


def _with_jpegs(svg: str) -> str:
  """Returns the SVG with its photographs as JPEG, an eighth of the size of the PNG that Matplotlib embeds."""

  def as_jpeg(embedded: re.Match[str]) -> str:
    pixels = images.imread(io.BytesIO(base64.b64decode(embedded[1])), format="png")
    opaque = pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]
    content = io.BytesIO()
    images.imsave(content, opaque, format="jpeg", pil_kwargs={"quality": JPEG_QUALITY})
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"

  return re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", as_jpeg, svg)


def _draw_picture(axes: Axes, row: dict, detections: pd.DataFrame, colors: dict[str, str]) -> None:
  pixels = images.imread(io.BytesIO(base64.b64decode(row["jpeg"])), format="jpeg")
  axes.imshow(pixels, extent=(0, row["width"], row["height"], 0))
  for item in row["objects"]:
    _draw_box(axes, item["box"], colors[item["class"]], 0.7, (0, (1, 1.5)))
  for each in detections.to_dict("records"):
    _draw_box(axes, each["box"], colors[each["class"]], 1.1, "-")
    if len(colors) > MAX_CURVES:
      left, top = each["box"][:2]
      axes.text(left, top, each["class"], color=colors[each["class"]], fontsize=5, va="bottom", clip_on=True)
  axes.set_xticks([])
  axes.set_yticks([])
  mistakes = int(row["wrong"])
  axes.set_title(f"{mistakes} mistake{'' if mistakes == 1 else 's'}", fontsize=6, pad=2)


def _draw_box(axes: Axes, box: list[float], color: str, width: float, dashes: object) -> None:
  left, top, right, bottom = box
  axes.add_patch(
    Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=color, linewidth=width, linestyle=dashes)
  )
