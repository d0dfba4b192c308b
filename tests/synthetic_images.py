"""Image files made up for tests: smooth pictures whose colours say where a pixel was, sound ones and broken ones."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PHOTOS = Path(os.environ.get("RESJAX_PHOTOS", ""))
TINY = Path(os.environ.get("RESJAX_TINY", ""))
needs_photos = pytest.mark.skipif("RESJAX_PHOTOS" not in os.environ, reason="RESJAX_PHOTOS names no folder")
needs_tiny = pytest.mark.skipif("RESJAX_TINY" not in os.environ, reason="RESJAX_TINY names no folder")


def picture(height, width, blue=128):
  """Red grows from left to right, green from top to bottom; uint8 [height, width, 3]."""
  rows, columns = np.mgrid[:height, :width]
  channels = columns * 255 / max(width - 1, 1), rows * 255 / max(height - 1, 1), np.full_like(rows, blue)
  return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def encoded(pixels, kind="JPEG", mode="RGB", **options):
  """Returns the bytes of an image file."""
  file = io.BytesIO()
  Image.fromarray(pixels).convert(mode).save(file, kind, **({"quality": 95} if kind == "JPEG" else {}) | options)
  return file.getvalue()


def write(folder, files):
  """Writes files by their path below a folder."""
  for name, content in files.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
  return folder


def train_and_val(folder, train=5, val=3, height=40, width=52):
  """Writes two classes, which differ in blue, as train/ and val/; returns the folder."""
  files = {}
  for split, count in (("train", train), ("val", val)):
    for label, blue in enumerate((40, 200)):
      for i in range(count):
        files[f"{split}/class{label}/{split}_{i}.JPEG"] = encoded(picture(height + i, width, blue + i))
  return write(folder, files)
