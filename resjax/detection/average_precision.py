"""Average precision of detections: PASCAL VOC's two forms, and COCO's by pycocotools."""

import contextlib
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from resjax.data.annotated_images import AnnotatedImage

RECALLS = np.linspace(0, 1, 11)


@dataclasses.dataclass(frozen=True)
class Found:
  """Detections in one image, in pixels of the image file.

  Attributes:
    boxes: float [D, 4].
    scores: float [D].
    labels: int [D], from 1 on.
  """

  boxes: np.ndarray
  scores: np.ndarray
  labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class ClassScore:
  """Scores of one class.

  Attributes:
    objects: Number of objects to find.
    voc: Average precision at overlap 0.5 as the area under the curve (VOC 2010 on); NaN without objects.
    voc07: The same as the mean of eleven points (VOC 2007).
    recall, precision: The curve, by falling score.
    coco, coco50: COCO's average precision over overlaps 0.5 to 0.95, and at 0.5; NaN without objects.
  """

  objects: int
  voc: float
  voc07: float
  recall: np.ndarray
  precision: np.ndarray
  coco: float
  coco50: float


def score(images: Sequence[AnnotatedImage], found: Sequence[Found], classes: int) -> list[ClassScore]:
  """Returns the scores of each class.

  Args:
    images: Images with their boxes.
    found: Detections in each image.
    classes: Number of classes.
  """
  coco = coco_precisions(images, found, classes)
  scores = []
  for label in range(1, classes + 1):
    objects, recall, precision = voc_curve(images, found, label)
    scores.append(
      ClassScore(
        objects,
        area_precision(recall, precision) if objects else np.nan,
        eleven_point_precision(recall, precision) if objects else np.nan,
        recall,
        precision,
        *coco[label - 1],
      )
    )
  return scores


def voc_curve(
  images: Sequence[AnnotatedImage], found: Sequence[Found], label: int, overlap: float = 0.5
) -> tuple[int, np.ndarray, np.ndarray]:
  """Returns the number of objects of a class, and recall and precision after each of its detections by falling score.

  A detection is right if the object that it overlaps most does so by `overlap` and was not found before. Detections
  of ignored objects count neither way.
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
        shared = overlaps(each.boxes[detection], boxes)
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


def area_precision(recall: np.ndarray, precision: np.ndarray) -> float:
  """Returns the area under the curve, with precision made to fall (VOC 2010 on)."""
  recall = np.concatenate([[0.0], recall])
  envelope = np.maximum.accumulate(np.concatenate([precision, [0.0]])[::-1])[::-1]
  return float((np.diff(recall) * envelope[:-1]).sum())


def eleven_point_precision(recall: np.ndarray, precision: np.ndarray) -> float:
  """Returns the mean over recalls 0, 0.1, ..., 1 of the highest precision at that recall or beyond (VOC 2007)."""
  return float(np.mean(highest_precision(recall, precision, RECALLS)))


def highest_precision(recall: np.ndarray, precision: np.ndarray, levels: np.ndarray) -> list[float]:
  """Returns the highest precision at each recall of `levels` or beyond; 0 where the curve does not reach it."""
  # A recall of 3 in 10 objects reaches 0.3, whichever way these round.
  return [float(max(precision[recall >= level - 1e-9], default=0.0)) for level in levels]


def coco_precisions(
  images: Sequence[AnnotatedImage], found: Sequence[Found], classes: int
) -> list[tuple[float, float]]:
  """Returns COCO's average precision of each class, over overlaps 0.5 to 0.95 and at 0.5, by pycocotools."""
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
  precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [overlaps, recalls, classes], all areas, 100 detections
  defined = np.where(precision < 0, np.nan, precision)
  return [(float(defined[:, :, c].mean()), float(defined[0, :, c].mean())) for c in range(classes)]


def _corner_and_sides(box: np.ndarray) -> list[float]:
  left, top, right, bottom = map(float, box)
  return [left, top, right - left, bottom - top]


def overlaps(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
  """Returns intersection over union [M] of a box and boxes [M, 4]."""
  sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
  shared = np.prod(np.maximum(sides, 0), 1)
  return shared / (np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], 1) - shared)
