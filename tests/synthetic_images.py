"""Image files for tests: color gradients, which show from where in an image a pixel comes."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Folders of real photographs and of Tiny ImageNet.
PHOTOS = Path(os.environ.get("RESJAX_PHOTOS", ""))
TINY = Path(os.environ.get("RESJAX_TINY", ""))
needs_photos = pytest.mark.skipif("RESJAX_PHOTOS" not in os.environ, reason="RESJAX_PHOTOS is not set")
needs_tiny_imagenet = pytest.mark.skipif("RESJAX_TINY" not in os.environ, reason="RESJAX_TINY is not set")


STREAMED = {
  "name": "folder",
  "image_size": 24,
  "resize": (26, 40),
}  # settings of a data set that is decoded in training
# Heights and widths: portrait and landscape, odd and even, small and large, and one of 64 pixels.
SHAPES = [(97, 130), (130, 97), (64, 64), (50, 81), (300, 201), (75, 75), (64, 90), (40, 400)]


def gradient_image(height, width, blue=128):
  """Returns an image, uint8 [height, width, 3], whose red grows from left to right and green from top to bottom."""
  rows, columns = np.mgrid[:height, :width]
  channels = columns * 255 / max(width - 1, 1), rows * 255 / max(height - 1, 1), np.full_like(rows, blue)
  return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def encode(pixels, kind="JPEG", mode="RGB", **options):
  """Returns the bytes of an image file.

  Args:
    pixels: Image, uint8 [height, width, 3].
    kind: File format as Pillow calls it.
    mode: Color mode as Pillow calls it, such as "CMYK".
    **options: Further options of Pillow's `save`.
  """
  file = io.BytesIO()
  Image.fromarray(pixels).convert(mode).save(file, kind, **({"quality": 95} if kind == "JPEG" else {}) | options)
  return file.getvalue()


def write_files(folder, files):
  """Writes files, given by their relative paths, below a folder and returns the folder."""
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  return folder


def write_train_and_val(folder, train=5, val=3, height=40, width=52):
  """Writes an image folder with train/ and val/ and returns it.

  The blue value of each image identifies it: 40 and following for the first class, 200 and following for the second.

  Args:
    folder: Folder to write to.
    train: Number of training images per class.
    val: Number of validation images per class.
    height: Height of the first image of each class; each further image is one pixel higher.
    width: Width of all images.
  """
  files = {}
  for split, count in (("train", train), ("val", val)):
    for label, blue in enumerate((40, 200)):
      for i in range(count):
        files[f"{split}/class{label}/{split}_{i}.JPEG"] = encode(gradient_image(height + i, width, blue + i))
  return write_files(folder, files)
