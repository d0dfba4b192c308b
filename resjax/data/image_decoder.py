"""From the bytes of an image file to pixels: decoded, cropped, resized, mirrored.

Needs the extra `imagenet`; nothing else in this package imports it at import time.
"""

import io

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from resjax.data.files import Encoded, Unreadable

# The processes that call this are as many as the cores; threads of OpenCV's own would only get into their way.
cv2.setNumThreads(0)
CENTRE = 0.5
SMALLEST = 8  # a JPEG is decoded at 1/2, 1/4 or 1/8 of its size at least


def decode(image: Encoded, side: int) -> np.ndarray:
  """Decodes a JPEG, or whatever Pillow can read under whatever name, as RGB.

  A JPEG whose shorter side is at least twice as long as is needed is decoded at a half, a quarter or an eighth of its
  size: the inverse cosine transform then computes fewer pixels. (Other fractions would save pixels, but no time.)

  Args:
    image: the file.
    side: pixels that the shorter side of the result must have, if that of the file has them.

  Returns:
    uint8 [H, W, 3].

  Raises:
    Unreadable: it is damaged beyond that.
  """
  try:
    height, width, *_ = simplejpeg.decode_jpeg_header(image.content)
    factor = next((n for n in (SMALLEST, 4, 2) if -(-min(height, width) // n) >= side), 1)
    least = {"min_height": -(-height // factor), "min_width": -(-width // factor)} if factor > 1 else {}
    return simplejpeg.decode_jpeg(image.content, "RGB", **least)
  except ValueError:  # no JPEG, in CMYK, or damaged
    return _decode_any(image)


def _decode_any(image: Encoded) -> np.ndarray:
  """Decodes with Pillow, which is slower and reads more: PNG and others, CMYK, JPEG with harmless faults."""
  try:
    with Image.open(io.BytesIO(image.content)) as opened:
      if opened.mode.startswith("I;16"):  # Pillow would cut all values over 255
        return np.repeat((np.asarray(opened) >> 8).astype(np.uint8)[..., np.newaxis], 3, axis=2)
      # Pillow warns of palettes whose transparency is not asked for.
      converted = opened.convert("RGBA").convert("RGB") if "transparency" in opened.info else opened.convert("RGB")
      return np.asarray(converted)
  except UnidentifiedImageError:
    raise Unreadable(f"{image.name}: not an image, or cut off at its beginning") from None
  # Damaged files raise what the parser happens to stumble over, and none of it may stop a run.
  except Exception as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    raise Unreadable(f"{image.name}: {reason[:200]}") from None


def crop(
  image: np.ndarray, side: int, size: int, row: float = CENTRE, column: float = CENTRE, mirrored: bool = False
) -> np.ndarray:
  """Returns the square that a crop of the resized image shows, without resizing the rest.

  To resize an image to a shorter side of `side` and crop `size` pixels is to cut a square of size / side of its shorter
  side out of it and to resize that. The square is cut at whole pixels of the image. It is enlarged bilinearly, shrunk
  by the mean over the pixels' areas.

  Args:
    image: uint8 [H, W, 3].
    side: pixels of the shorter side of the resized image.
    size: pixels of a side of the crop, at most `side`.
    row, column: where, as a share (0 to 1, without 1) of the places there are.
    mirrored: whether left and right change places.

  Returns:
    uint8 [size, size, 3].
  """
  height, width, _ = image.shape
  shorter = min(height, width)
  square = min(max(1, round(shorter * size / side)), shorter)
  top, left = int(row * (height - square + 1)), int(column * (width - square + 1))
  cut = image[top : top + square, left : left + square]
  if square != size:
    cut = cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA if square > size else cv2.INTER_LINEAR)
  return cv2.flip(cut, 1) if mirrored else cut
