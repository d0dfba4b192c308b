"""Average precision against a plain implementation, on random detections with ties and ignored boxes; merging."""

from pathlib import Path

import numpy as np
import pytest

from resjax.config import Detection
from resjax.data.annotated_images import AnnotatedImage
from resjax.detection import average_precision
from resjax.detection.evaluation import merge_detections

pytest.importorskip("pycocotools", reason="the extra detection is not installed")


def random_detections(seed: int) -> tuple[list[AnnotatedImage], list[average_precision.ImageDetections]]:
  """Returns twelve images with random objects of three classes, and detections near and far from the objects."""
  rng = np.random.default_rng(seed)
  images, found = [], []
  for i in range(12):
    count = int(rng.integers(0, 6))
    low = rng.uniform(0, 60, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(8, 30, (count, 2))], 1).astype(np.float32)
    labels = rng.integers(1, 4, count).astype(np.int32)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], 1)
    images.append(AnnotatedImage(f"{i}", Path(), 100, 100, boxes, labels, rng.uniform(size=count) < 0.2, areas))
    near = boxes[rng.integers(0, count, 8)] + rng.normal(0, 3, (8, 4)) if count else np.zeros((0, 4))
    far = rng.uniform(0, 50, (3, 2))
    every = np.concatenate([near, np.concatenate([far, far + 20], 1)])
    found.append(
      average_precision.ImageDetections(
        every, np.round(rng.uniform(0.05, 1, len(every)), 2), rng.integers(1, 4, len(every))
      )
    )
  return images, found


def reference_curve(images, found, label):
  """Returns the number of objects of a class, and recall and precision after each detection, as VOC defines them."""
  rows = sorted(
    ((each.scores[j], i, j) for i, each in enumerate(found) for j in np.flatnonzero(each.labels == label)),
    key=lambda row: -row[0],
  )
  objects = {i: [k for k in range(len(image.labels)) if image.labels[k] == label] for i, image in enumerate(images)}
  total = sum(not images[i].ignored[k] for i, own in objects.items() for k in own)
  used, right, wrong, recall, precision = set(), 0, 0, [], []
  for _, i, j in rows:
    a, best, which = found[i].boxes[j], -1.0, None
    for k in objects[i]:
      b = images[i].boxes[k]
      width = min(a[2], b[2]) - max(a[0], b[0])
      height = min(a[3], b[3]) - max(a[1], b[1])
      shared = max(width, 0) * max(height, 0)
      union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
      if shared / union > best:
        best, which = shared / union, k
    if best >= 0.5 and images[i].ignored[which]:
      continue
    if best >= 0.5 and (i, which) not in used:
      used.add((i, which))
      right += 1
    else:
      wrong += 1
    recall.append(right / total)
    precision.append(right / (right + wrong))
  return total, recall, precision


@pytest.mark.parametrize("seed", range(4))
def test_curves_and_average_precision_are_those_of_the_reference(seed):
  images, found = random_detections(seed)
  for label in (1, 2, 3):
    total, recall, precision = reference_curve(images, found, label)
    there = average_precision.precision_recall_curve(images, found, label)
    assert there[0] == total
    np.testing.assert_allclose(there[1], recall)
    np.testing.assert_allclose(there[2], precision)
    pairs = [(round(r * total), p) for p, r in zip(precision, recall, strict=True)]  # exact numbers of found objects
    eleven = sum(max([p for count, p in pairs if 10 * count >= t * total], default=0) for t in range(11))
    assert average_precision.eleven_point_precision(there[1], there[2]) == pytest.approx(eleven / 11)
    area, last = 0.0, 0.0
    for level in sorted(set(recall)):
      area += (level - last) * max(p for p, r in zip(precision, recall, strict=True) if r >= level)
      last = level
    assert average_precision.area_under_curve(there[1], there[2]) == pytest.approx(area)


def test_perfect_detections_score_one_and_no_detections_score_zero():
  images, _ = random_detections(0)
  perfect = [
    average_precision.ImageDetections(image.boxes, np.linspace(1, 0.5, len(image.labels)), image.labels)
    for image in images
  ]
  for each in average_precision.score_classes(images, perfect, 3):
    assert (each.voc, each.voc07, each.coco, each.coco50) == pytest.approx((1, 1, 1, 1))
  none = [average_precision.ImageDetections(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)) for _ in images]
  for each in average_precision.score_classes(images, none, 4)[:3]:
    assert (each.voc, each.voc07, each.coco, each.coco50) == (0, 0, 0, 0)
  assert np.isnan(average_precision.score_classes(images, none, 4)[3].voc)  # a class without objects


def test_coco_and_voc_agree_approximately_at_an_overlap_of_one_half():
  """COCO interpolates at 101 points instead of computing the area, and matches objects differently."""
  images, found = random_detections(1)
  keep = [i for i, image in enumerate(images) if not image.ignored.any()]
  by_class = average_precision.score_classes([images[i] for i in keep], [found[i] for i in keep], 3)
  for each in by_class:
    assert each.coco50 == pytest.approx(each.voc, abs=0.05)
    assert each.coco <= each.coco50


def passes() -> list[average_precision.ImageDetections]:
  """Returns the detections of two passes: an object that both find, one of each, and one of another class."""
  first = [[10, 10, 30, 30], [60, 60, 80, 90]], [0.8, 0.5], [1, 2]
  second = [[12, 10, 32, 30], [40, 5, 50, 15], [10, 10, 30, 30]], [0.4, 0.7, 0.6], [1, 1, 2]
  return [average_precision.ImageDetections(*map(np.array, each)) for each in (first, second)]


def test_merging_suppresses_per_class_and_votes_only_if_asked():
  plain = merge_detections(passes(), Detection(detections=3))
  np.testing.assert_array_equal(plain.boxes, [[10, 10, 30, 30], [40, 5, 50, 15], [10, 10, 30, 30]])
  np.testing.assert_array_equal(plain.scores, [0.8, 0.7, 0.6])
  np.testing.assert_array_equal(plain.labels, [1, 1, 2])
  voted = merge_detections(passes(), Detection(detections=3, box_voting=True))
  mean = (10 * 0.8 + 12 * 0.4) / 1.2  # of the left sides; the IoU of both boxes is 18 / 22
  np.testing.assert_allclose(voted.boxes, [[mean, 10, mean + 20, 30], [40, 5, 50, 15], [10, 10, 30, 30]])


@pytest.mark.parametrize("voting", [False, True])
def test_boxes_without_area_overlap_nothing(voting):
  """Two such boxes have an empty union; the division by it must not appear."""
  flat = np.array([[5, 5, 5, 40], [0, 0, 20, 20]], float)
  np.testing.assert_array_equal(average_precision.iou(flat[0], flat), [0, 0])
  one = average_precision.ImageDetections(flat, np.array([0.9, 0.5]), np.array([1, 1]))
  merged = merge_detections([one], Detection(box_voting=voting))
  np.testing.assert_array_equal(merged.boxes, flat)
