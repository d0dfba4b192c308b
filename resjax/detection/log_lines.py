"""Lines of the logs of a detector: average precision of each class, detections, and images with their boxes."""

import base64
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from resjax.data.annotated_images import AnnotatedImage
from resjax.data.files import Encoded
from resjax.data.image_decoder import decode
from resjax.detection import average_precision

RECORDED_RECALLS = np.linspace(0, 1, 101)  # recalls at which precision is recorded
PICTURES = 3  # number of recorded images with the fewest errors, and of those with the most
PICTURE_SIDE = 256  # longer side of a recorded image in pixels
CONFIDENT_SCORE = 0.5  # smallest score of the detections that count in the choice of images


def class_lines(names: Sequence[str], by_class: Sequence[average_precision.ClassScore]) -> list[dict[str, Any]]:
  """Returns the lines of average_precision.jsonl, one per class.

  Args:
    names: Names of the classes.
    by_class: Average precision of the classes, in the same order.
  """
  return [
    {
      "class": name,
      "objects": each.objects,
      "ap50": each.voc,
      "ap50_11_points": each.voc07,
      "coco_ap50": each.coco50,
      "coco_ap": each.coco,
      "precision": average_precision.highest_precision(each.recall, each.precision, RECORDED_RECALLS)
      if each.objects
      else None,
    }
    for name, each in zip(names, by_class, strict=True)
  ]


def detection_lines(
  names: Sequence[str], images: Sequence[AnnotatedImage], found: Sequence[average_precision.ImageDetections]
) -> list[dict[str, Any]]:
  """Returns the lines of detections.jsonl, one per detection, with boxes rounded to a tenth of a pixel.

  Args:
    names: Names of the classes.
    images: Images of the data set.
    found: Detections in each image.
  """
  return [
    {"image": image.name, "class": names[label - 1], "score": round(float(score), 4), "box": _rounded(box)}
    for image, each in zip(images, found, strict=True)
    for box, score, label in zip(each.boxes, each.scores, each.labels, strict=True)
  ]


def picture_lines(
  names: Sequence[str], images: Sequence[AnnotatedImage], found: Sequence[average_precision.ImageDetections]
) -> list[dict[str, Any]]:
  """Returns the lines of pictures.jsonl: images with the fewest and with the most errors per object.

  Errors are false detections and missed objects. Images without objects are not chosen.

  Args:
    names: Names of the classes.
    images: Images of the data set.
    found: Detections in each image.
  """
  wrong = {
    i: _mistakes(image, each, len(names))
    for i, (image, each) in enumerate(zip(images, found, strict=True))
    if image.objects
  }
  ranked = sorted(wrong, key=lambda i: (wrong[i] / images[i].objects, -images[i].objects))
  chosen = dict.fromkeys([*ranked[:PICTURES], *ranked[-PICTURES:]])
  return [_picture(names, images[i], wrong[i]) for i in chosen]


def _mistakes(image: AnnotatedImage, found: average_precision.ImageDetections, classes: int) -> int:
  """Returns the number of false detections with a score of at least `CONFIDENT_SCORE`, plus that of missed objects."""
  sure = found.scores >= CONFIDENT_SCORE
  kept = average_precision.ImageDetections(found.boxes[sure], found.scores[sure], found.labels[sure])
  mistakes = 0
  for label in range(1, classes + 1):
    objects, _, precision = average_precision.precision_recall_curve([image], [kept], label)
    counted = len(precision)
    right = round(precision[-1] * counted) if counted else 0
    mistakes += counted - right + objects - right
  return mistakes


def _picture(names: Sequence[str], image: AnnotatedImage, wrong: int) -> dict[str, Any]:
  """Returns the line of an image: a JPEG of reduced size, and the objects in pixels of the image file."""
  scale = min(PICTURE_SIDE / max(image.height, image.width), 1.0)
  size = round(image.width * scale), round(image.height * scale)
  pixels = decode(Encoded(image.name, image.path.read_bytes(), 0), min(size))
  small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
  _, content = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
  objects = [
    {"class": names[label - 1], "box": _rounded(box), "ignored": bool(ignored)}
    for box, label, ignored in zip(image.boxes, image.labels, image.ignored, strict=True)
  ]
  return {
    "image": image.name,
    "width": image.width,
    "height": image.height,
    "wrong": wrong,
    "objects": objects,
    "jpeg": base64.b64encode(content.tobytes()).decode(),
  }


def _rounded(box: np.ndarray) -> list[float]:
  return [round(float(side), 1) for side in box]
