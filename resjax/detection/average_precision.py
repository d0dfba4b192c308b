"""Average precision of detections: the two definitions of PASCAL VOC, and that of COCO by pycocotools."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from resjax.data.annotated_images import AnnotatedImage

ELEVEN_RECALLS = np.linspace(0, 1, 11)


@dataclasses.dataclass(frozen=True)
class ImageDetections:
  """Detections in one image.

  Attributes:
    boxes: Boxes in pixels of the image file, float [D, 4].
    scores: Class probabilities, float [D].
    labels: Classes from 1 on, int [D].
  """

  boxes: np.ndarray
  scores: np.ndarray
  labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class ClassScore:
  """Average precision of one class, NaN if the images have no object of it.

  Attributes:
    objects: Number of objects that are not ignored.
    voc: Average precision at an IoU of 0.5 as the area under the precision-recall curve (since VOC 2010).
    voc07: Average precision at an IoU of 0.5 as the mean over eleven recalls (VOC 2007).
    recall: Recall after each detection in the order of decreasing scores, float [detections].
    precision: Precision after each detection, float [detections].
    coco: COCO's average precision, the mean over IoUs from 0.5 to 0.95.
    coco50: COCO's average precision at an IoU of 0.5.
  """

  objects: int
  voc: float
  voc07: float
  recall: np.ndarray
  precision: np.ndarray
  coco: float
  coco50: float


def score_classes(images: Sequence[AnnotatedImage], found: Sequence[ImageDetections], classes: int) -> list[ClassScore]:
  """Returns the average precision of each class.

  Args:
    images: Images with annotated boxes.
    found: Detections in each image.
    classes: Number of classes.
  """
  coco = coco_average_precisions(images, found, classes)
  scores = []
  for label in range(1, classes + 1):
    objects, recall, precision = precision_recall_curve(images, found, label)
    scores.append(
      ClassScore(
        objects,
        area_under_curve(recall, precision) if objects else np.nan,
        eleven_point_precision(recall, precision) if objects else np.nan,
        recall,
        precision,
        *coco[label - 1],
      )
    )
  return scores


def precision_recall_curve(
  images: Sequence[AnnotatedImage], found: Sequence[ImageDetections], label: int, overlap: float = 0.5
) -> tuple[int, np.ndarray, np.ndarray]:
  """Computes the precision-recall curve of a class.

  A detection is correct if its IoU with the best matching object is at least `overlap` and no detection of a higher
  score matched this object. Detections of ignored objects do not count.

  Args:
    images: Images with annotated boxes.
    found: Detections in each image.
    label: Class, from 1 on.
    overlap: Smallest intersection over union of a correct detection.

  Returns:
    Number of objects that are not ignored, and recall and precision after each detection in the order of decreasing
    scores.
  """
  total, scores, hits = 0, [], []
  for image, each in zip(images, found, strict=True):
    of_class = image.labels == label
    boxes, ignored = image.boxes[of_class], image.ignored[of_class]
    total += int((~ignored).sum())
    mine = np.flatnonzero(each.labels == label)
    mine = mine[np.argsort(-each.scores[mine], kind="stable")]
    taken = np.zeros(len(boxes), bool)
    for detection in mine:
      hit = 0.0
      if len(boxes):
        shared = iou(each.boxes[detection], boxes)
        best = int(np.argmax(shared))
        if shared[best] >= overlap:
          if ignored[best]:
            continue
          hit = float(not taken[best])
          taken[best] = True
      scores.append(each.scores[detection])
      hits.append(hit)
  right = np.array(hits)[np.argsort(-np.array(scores), kind="stable")] if hits else np.zeros(0)
  found_so_far = np.cumsum(right)
  return total, found_so_far / max(total, 1), found_so_far / np.arange(1, len(right) + 1)


def area_under_curve(recall: np.ndarray, precision: np.ndarray) -> float:
  """Returns the area under the curve of monotonically decreasing precision (VOC 2010).

  Args:
    recall: Recall after each detection.
    precision: Precision after each detection.
  """
  recall = np.concatenate([[0.0], recall])
  envelope = np.maximum.accumulate(np.concatenate([precision, [0.0]])[::-1])[::-1]
  return float((np.diff(recall) * envelope[:-1]).sum())


def eleven_point_precision(recall: np.ndarray, precision: np.ndarray) -> float:
  """Returns the mean over recalls 0, 0.1, ..., 1 of the highest precision at that recall or beyond (VOC 2007)."""
  return float(np.mean(highest_precision(recall, precision, ELEVEN_RECALLS)))


def highest_precision(recall: np.ndarray, precision: np.ndarray, levels: np.ndarray) -> list[float]:
  """Returns the highest precision at recalls of at least each level; 0 for a level that the curve does not reach.

  Args:
    recall: Recall after each detection.
    precision: Precision after each detection.
    levels: Recalls from 0 to 1.
  """
  # The tolerance lets 3 of 10 objects reach the level 0.3 independently of rounding.
  return [float(max(precision[recall >= level - 1e-9], default=0.0)) for level in levels]


def coco_average_precisions(
  images: Sequence[AnnotatedImage], found: Sequence[ImageDetections], classes: int
) -> list[tuple[float, float]]:
  """Returns COCO's average precision of each class by pycocotools: the mean over IoUs from 0.5 to 0.95, and at 0.5.

  Args:
    images: Images with annotated boxes.
    found: Detections in each image.
    classes: Number of classes.
  """
  from pycocotools.coco import COCO
  from pycocotools.cocoeval import COCOeval

  truth, detections = COCO(), []
  annotations: list[dict[str, Any]] = [
    {
      "image_id": number,
      "category_id": int(label),
      "bbox": _corner_and_sides(box),
      "area": float(area),
      "iscrowd": int(crowd),
    }
    for number, image in enumerate(images)
    for box, label, crowd, area in zip(image.boxes, image.labels, image.ignored, image.areas, strict=True)
  ]
  for number, annotation in enumerate(annotations, 1):
    annotation["id"] = number
  for number, each in enumerate(found):
    detections += [
      {"image_id": number, "category_id": int(label), "bbox": _corner_and_sides(box), "score": float(value)}
      for box, value, label in zip(each.boxes, each.scores, each.labels, strict=True)
    ]
  truth.dataset = {
    "info": {},
    "images": [{"id": number, "height": image.height, "width": image.width} for number, image in enumerate(images)],
    "annotations": annotations,
    "categories": [{"id": label} for label in range(1, classes + 1)],
  }
  if not detections:
    there = np.bincount([each["category_id"] for each in annotations if not each["iscrowd"]], minlength=classes + 1)
    return [(0.0, 0.0) if there[label] else (np.nan, np.nan) for label in range(1, classes + 1)]
  with contextlib.redirect_stdout(io.StringIO()):
    truth.createIndex()
    evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
  precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [IoUs, recalls, classes], all areas, 100 detections
  defined = np.where(precision < 0, np.nan, precision)
  return [(float(defined[:, :, c].mean()), float(defined[0, :, c].mean())) for c in range(classes)]


def _corner_and_sides(box: np.ndarray) -> list[float]:
  left, top, right, bottom = map(float, box)
  return [left, top, right - left, bottom - top]


def iou(box: np.ndarray, boxes_Mx4: np.ndarray) -> np.ndarray:
  """Returns the intersection over union of a box [4] with each of several boxes, [M]; 0 where both are empty."""
  sides = np.minimum(box[2:], boxes_Mx4[:, 2:]) - np.maximum(box[:2], boxes_Mx4[:, :2])
  shared = np.prod(np.maximum(sides, 0), 1)
  union = np.prod(box[2:] - box[:2]) + np.prod(boxes_Mx4[:, 2:] - boxes_Mx4[:, :2], 1) - shared
  return shared / np.where(union > 0, union, 1)
