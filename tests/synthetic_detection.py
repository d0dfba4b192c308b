"""Small detection data sets in the formats of PASCAL VOC and COCO: bright squares on dark noise."""

import json
from pathlib import Path

import cv2
import numpy as np

COLOURS = {"red": (200, 60, 60), "blue": (60, 60, 220)}


def draw(rng: np.random.Generator, height: int, width: int, objects: int) -> tuple[np.ndarray, list]:
  """Draws an image.

  Args:
    rng: Source of random numbers.
    height: Height of the image.
    width: Width of the image.
    objects: Number of squares.

  Returns:
    Image, uint8 [height, width, 3], and for each object its (class name, left, top, right, bottom).
  """
  image = rng.integers(0, 60, (height, width, 3)).astype(np.uint8)
  boxes = []
  for _ in range(objects):
    side = int(rng.integers(12, 24))
    left, top = int(rng.integers(0, width - side)), int(rng.integers(0, height - side))
    name = str(rng.choice(list(COLOURS)))
    image[top : top + side, left : left + side] = COLOURS[name]
    boxes.append((name, left, top, left + side, top + side))
  return image, boxes


def images(count: int, seed: int):
  """Yields the name, image and objects of each image, of which every third is in portrait format."""
  rng = np.random.default_rng(seed)
  for i in range(count):
    height, width = (64, 48) if i % 3 == 2 else (48, 64)
    yield f"image{seed}_{i:02d}", *draw(rng, height, width, int(rng.integers(1, 3)))


def write_image(path: Path, image: np.ndarray) -> None:
  """Writes an RGB image as JPEG."""
  path.parent.mkdir(parents=True, exist_ok=True)
  cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])


def write_voc(root: Path, train: int = 8, test: int = 4) -> Path:
  """Writes a data set in the format of PASCAL VOC.

  Args:
    root: Folder to create.
    train: Number of images of the split trainval.
    test: Number of images of the split test.

  Returns:
    The folder.
  """
  lists = root / "ImageSets/Main"
  lists.mkdir(parents=True)
  (root / "Annotations").mkdir()
  for split, count, seed in (("trainval", train, 0), ("test", test, 1)):
    names = []
    for name, image, objects in images(count, seed):
      write_image(root / f"JPEGImages/{name}.jpg", image)
      parts = [
        f"<object><name>{kind}</name><difficult>0</difficult><bndbox><xmin>{left + 1}</xmin><ymin>{top + 1}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for kind, left, top, right, bottom in objects
      ]
      height, width = image.shape[:2]
      text = f"<annotation><filename>{name}.jpg</filename><size><width>{width}</width><height>{height}</height></size>"
      (root / f"Annotations/{name}.xml").write_text(text + "".join(parts) + "</annotation>")
      names.append(name)
    (lists / f"{split}.txt").write_text("\n".join(names) + "\n")
  return root


def write_coco(root: Path, train: int = 8, test: int = 4) -> Path:
  """Writes a data set in the format of COCO, whose category ids are not consecutive.

  Args:
    root: Folder to create.
    train: Number of training images.
    test: Number of validation images.

  Returns:
    The folder.
  """
  (root / "annotations").mkdir(parents=True)
  numbers = {name: 10 * i for i, name in enumerate(COLOURS, 1)}
  for split, count, seed in (("train2017", train, 0), ("val2017", test, 1)):
    rows, annotations = [], []
    for number, (name, image, objects) in enumerate(images(count, seed)):
      write_image(root / split / f"{name}.jpg", image)
      rows.append({"id": number, "file_name": f"{name}.jpg", "height": image.shape[0], "width": image.shape[1]})
      for kind, left, top, right, bottom in objects:
        box = [left, top, right - left, bottom - top]
        area = box[2] * box[3]
        annotations.append(
          {
            "id": len(annotations) + 1,
            "image_id": number,
            "category_id": numbers[kind],
            "bbox": box,
            "area": area,
            "iscrowd": 0,
          }
        )
    content = {
      "images": rows,
      "annotations": annotations,
      "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }
    (root / f"annotations/instances_{split}.json").write_text(json.dumps(content))
  return root
