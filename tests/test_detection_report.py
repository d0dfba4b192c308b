"""The section of the report on detection: intervals, findings and the results of the paper."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from scipy import stats

from resjax import analysis, paper, records
from resjax.analysis import formats, sections, seed_statistics, style
from resjax.analysis.sections import detection, detection_panels

SCORES = {10: [0.50, 0.54], 18: [0.58, 0.61], 34: [0.70, 0.72]}
ERRORS = {10: 0.6, 18: 0.55, 34: 0.5}


def detectors(
  root: Path, scores: dict[int, list[float]], kind: str = "residual", digests: str = "00", backbone: bool = True
) -> analysis.Logs:
  """Writes finished runs of detectors and returns their logs.

  Args:
    root: Directory of the experiment.
    scores: Mean average precision of each seed, by depth of the backbone.
    kind: "residual" or "plain".
    digests: A digest of the weights of the backbone for each seed.
    backbone: Whether the runs start from a backbone.
  """
  for depth, values in scores.items():
    for seed, score in enumerate(values):
      name = f"residual-B-d{depth}-s{seed}" if kind == "residual" else f"plain-d{depth}-s{seed}"
      initial = {"id": name, "step": 5, "test_error": ERRORS[depth], "params_digest": digests[seed]}
      with records.RunWriter(root / name) as writer:
        writer.update(
          **{"id": name, "kind": kind, "depth": depth, "shortcut": "B", "seed": seed, "status": records.DONE},
          **{"step": 9, "steps": 9, "params": 1, "macs": 1, "data": {"name": "voc"}},
          result={"test_error": 1 - score, "train_error": 0.1, "test_images": 72, "map50": score, "map": score / 2},
          **({"backbone": initial} if backbone else {}),
        )
        for label, by in (("red", -0.1), ("blue", 0.1)):
          line = {"class": label, "objects": 5, "ap50": score + by, "coco_ap50": score, "coco_ap": score / 2}
          line["ap50_11_points"] = score + by - 0.02
          writer.append("average_precision", [{"step": 9, "split": "test", **line, "precision": [1.0] * 101}])
        writer.append("metrics", [{"step": 9, "split": "test", "error": 1 - score, "images": 72}])
  return analysis.load(root)


def test_the_table_has_the_classification_error_and_the_interval_of_each_backbone(tmp_path):
  section = detection.build(detectors(tmp_path, SCORES))
  rows = {row[0]: row[1:] for row in section.tables[0].rows}
  assert [rows[f"ResNet-{depth}"][0] for depth in SCORES] == ["60.00", "55.00", "50.00"]
  assert [rows[f"ResNet-{depth}"][2] for depth in SCORES] == ["52.00", "59.50", "71.00"]
  assert [rows[f"ResNet-{depth}"][4] for depth in SCORES] == [
    "50.00",
    "57.50",
    "69.00",
  ]  # by the definition of VOC 2007
  spread = (sum((a - b) ** 2 / 2 for a, b in SCORES.values()) / 3) ** 0.5
  half = stats.t.ppf(0.975, 3) * spread / 2**0.5
  assert rows["ResNet-10"][3] == f"{100 * (0.52 - half):.2f} to {100 * (0.52 + half):.2f}"


def test_intervals_of_average_precision_do_not_extend_beyond_0_and_1(tmp_path):
  section = detection.build(detectors(tmp_path, {10: [0.0, 0.02], 18: [0.3, 0.7], 34: [0.99, 1.0]}))
  low, _, high = (row[4].split(" to ") for row in section.tables[0].rows)
  assert low[0] == "0.00" and high[1] == "100.00"


def test_the_interval_of_two_networks_is_that_of_the_two_sample_t_test():
  one, other = [0.5, 0.54, 0.51], [0.6, 0.61]
  interval = stats.ttest_ind(other, one).confidence_interval(0.95)
  assert seed_statistics.pooled_half_width([one, other], [3, 2]) == pytest.approx((interval.high - interval.low) / 2)


def test_findings_compare_backbones_and_correlate_with_classification(tmp_path):
  more = detection.build(detectors(tmp_path / "more", SCORES)).findings
  assert more[0].startswith(
    "From ResNet-10 to ResNet-34 as backbone, mAP@.5 changes from 52.00 to 71.00 % (95% interval"
  )
  assert more[0].endswith("the detector with the deeper backbone is more accurate.")
  assert more[1] == "Over 3 backbones, the correlation between mAP@.5 and classification error is \N{MINUS SIGN}0.99."
  same = detection.build(detectors(tmp_path / "same", {10: [0.5, 0.6], 34: [0.52, 0.62]})).findings
  assert same[0].endswith("(95% interval of the difference \N{MINUS SIGN}28.4 to +32.4): no significant difference.")
  single = detection.build(detectors(tmp_path / "single", {10: [0.5], 34: [0.6]})).findings
  assert single == (
    "From ResNet-10 to ResNet-34 as backbone, mAP@.5 changes from 50.00 to 60.00 % (one seed each): "
    "a test of the difference needs more seeds.",
  )


def test_average_precision_is_drawn_against_depth_with_intervals(tmp_path):
  detectors(tmp_path, SCORES, "plain")
  section = detection.build(detectors(tmp_path, SCORES))
  panel = section.panels[0]
  assert panel.name == "map-by-depth"
  texts = re.findall(r">([^<]+)</text>", panel.svg)
  assert {"plain", "ResNet", "10", "18", "34", "depth of backbone"} <= set(texts)
  alone = detection.build(detectors(tmp_path / "alone", {10: [0.5]}))
  assert "map-by-depth" not in [each.name for each in alone.panels]


def test_the_caption_says_whether_the_intervals_include_the_training_of_the_backbones(tmp_path):
  own = detection.build(detectors(tmp_path / "own", SCORES, digests="01")).tables[0].caption
  shared = detection.build(detectors(tmp_path / "shared", SCORES, digests="00")).tables[0].caption
  assert "over seeds, each with a backbone of its own," in own
  assert own.endswith("they do not include the variation between test images.")
  assert shared.endswith("between test images or between trainings of a backbone.")


def test_detectors_without_a_backbone_have_no_classification_error(tmp_path):
  section = detection.build(detectors(tmp_path, {10: [0.5]}, backbone=False))
  assert section.tables[0].rows[0][1] == formats.MISSING


def test_mean_average_precision_has_no_sampling_error(tmp_path):
  logs = detectors(tmp_path, {depth: values[:1] for depth, values in SCORES.items()})
  built = {section.key: section for section in sections.build_all(logs)}
  assert "scaling" not in built
  assert not any("sampling error" in sentence for section in built.values() for sentence in section.findings)
  assert built["depth"].data["comparisons"]["sampling_error"].isna().all()
  assert seed_statistics.intervals(logs)["sampling_error"].isna().all()


def test_the_table_of_the_paper_has_its_detectors(tmp_path):
  own, of_classes, table = detection.build(detectors(tmp_path, SCORES)).tables
  assert len(table.rows) == len(paper.DETECTION) == 14
  none = formats.MISSING
  assert ["ResNet-101", "baseline", "COCO train", "COCO val", "48.40", none, "27.20", "Table 8"] in table.rows
  assert ["VGG-16", "baseline", "VOC 07+12", "VOC 2007 test", none, "73.20", none, "Table 7"] in table.rows
  assert ["VGG-16", "baseline", "VOC 07++12", "VOC 2012 test", "70.40", none, none, "Table 7"] in table.rows
  assert table.columns[5] == own.columns[5] and own.columns[5].title == "mAP@.5, 11 points"
  assert "the area under the precision-recall curve" in own.caption and "VOC 2007" in own.caption
  assert of_classes.caption.endswith(
    "at an IoU of 0.5, in percent: the area under the precision-recall curve, as in VOC 2010 and later."
  )
  coco = {each.network: each for each in paper.DETECTION if each.source == "Table 8"}
  gain = coco["ResNet-101"].map / coco["VGG-16"].map - 1
  assert round(100 * gain) == 28  # "28% relative improvement", in the abstract
  assert all(0 < each.map50 < 1 and (each.map is None) == ("VOC" in each.tested_on) for each in paper.DETECTION)


@pytest.mark.parametrize(("count", "labels"), [(2, {"red", "blue"}), (12, {"red"})])
def test_pictures_name_few_classes_in_a_legend_and_many_at_the_boxes(tmp_path, count, labels):
  picture = {"step": 9, "split": "test", "image": "a", "width": 32, "height": 32, "wrong": 1, "objects": []}
  content = io.BytesIO()
  image.imsave(content, np.zeros((32, 32, 3)), format="jpeg")
  found = {"step": 9, "split": "test", "image": "a", "class": "red", "score": 0.9, "box": [2.0, 2.0, 20.0, 20.0]}
  detectors(tmp_path, {10: [0.5]})
  with records.RunWriter(tmp_path / "residual-B-d10-s0") as writer:
    writer.append("pictures", [picture | {"jpeg": base64.b64encode(content.getvalue()).decode()}])
    writer.append("detections", [found, found | {"class": "blue", "score": 0.1}])
  logs = analysis.load(tmp_path)
  colors = style.series_colors(["red", "blue", *map(str, range(count - 2))])
  panel = detection_panels.picture_panel(logs, logs.networks[0], colors)
  texts = set(re.findall(r">([^<]+)</text>", panel.svg))
  assert texts & set(colors) == labels


def test_photographs_are_embedded_as_jpeg_with_the_same_colors(tmp_path):
  rng = np.random.default_rng(0)
  photograph = np.kron(rng.random((6, 8, 3)), np.ones((16, 16, 1)))
  recorded = io.BytesIO()
  image.imsave(recorded, photograph, format="jpeg", pil_kwargs={"quality": 95})
  detectors(tmp_path, {10: [0.5]})
  line = {"step": 9, "split": "test", "image": "a", "width": 128, "height": 96, "wrong": 1, "objects": []}
  with records.RunWriter(tmp_path / "residual-B-d10-s0") as writer:
    writer.append("pictures", [line | {"jpeg": base64.b64encode(recorded.getvalue()).decode()}])
  logs = analysis.load(tmp_path)
  panel = {each.name: each for each in detection.build(logs).panels}["pictures-residual-B-d10"]
  assert "image/png" not in panel.svg
  (embedded,) = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", panel.svg)
  pixels = image.imread(io.BytesIO(base64.b64decode(embedded)), format="jpeg") / 255
  assert pixels.shape[0] > 50
  means = [pixels[rows].mean((0, 1)) for rows in (slice(None, len(pixels) // 2), slice(len(pixels) // 2, None))]
  halves = [photograph[:48].mean((0, 1)), photograph[48:].mean((0, 1))]
  # SVG images may be stored upside down, which their transform undoes.
  assert min(np.abs(np.subtract(means, own)).max() for own in (halves, halves[::-1])) < 0.05
