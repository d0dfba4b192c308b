"""Decoding, cropping, resizing and mirroring of image files.

Needs the extra `imagenet`, so other modules import it only when image files are read.
"""

import io

import cv2
import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from resjax.data.files import Encoded, Unreadable

# There is one worker process per core, so threads of OpenCV would only compete with them.
cv2.setNumThreads(0)
CENTER = 0.5
SMALLEST = 8  # a JPEG is decoded at no less than 1/8 of its size


def decode(image: Encoded, side: int) -> np.ndarray:
  """Decodes a JPEG, or any format that Pillow can read, to RGB; the file's name does not matter.

  A JPEG whose shorter side is at least twice as long as needed is decoded at a half, a quarter or an eighth of its
  size, for which the inverse cosine transform computes fewer pixels. Other fractions would save pixels, but no time.
  The orientation in EXIF data is not applied: pixels stay in the order of the file, as in most work on ImageNet.

  Args:
    image: Encoded image.
    side: Minimum shorter side of the result in pixels; smaller images keep their size.

  Returns:
    Pixels, uint8 [H, W, 3].

  Raises:
    Unreadable: The file is not an image, or is too damaged for Pillow.
  """
  try:
    height, width, *_ = simplejpeg.decode_jpeg_header(image.content)
    factor = next((n for n in (SMALLEST, 4, 2) if -(-min(height, width) // n) >= side), 1)
    least = {"min_height": -(-height // factor), "min_width": -(-width // factor)} if factor > 1 else {}
    return simplejpeg.decode_jpeg(image.content, "RGB", **least)
  except ValueError:  # no JPEG, in CMYK, or damaged
    return _decode_any(image)


def _decode_any(image: Encoded) -> np.ndarray:
  """Decodes with Pillow, which is slower, but also reads PNG and other formats, CMYK and slightly damaged JPEGs."""
  try:
    with Image.open(io.BytesIO(image.content)) as opened:
      if opened.mode.startswith("I;16"):  # Pillow would clip all values over 255
        return np.repeat((np.asarray(opened) >> 8).astype(np.uint8)[..., np.newaxis], 3, axis=2)
      # Pillow warns if a palette with transparency is converted directly to RGB.
      converted = opened.convert("RGBA").convert("RGB") if "transparency" in opened.info else opened.convert("RGB")
      return np.asarray(converted)
  except UnidentifiedImageError:
    raise Unreadable(f"{image.name}: not an image, or truncated at its beginning") from None
  # Damaged files can raise any exception, and none of them may stop a run.
  except Exception as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    raise Unreadable(f"{image.name}: {reason[:200]}") from None


def crop(
  image: np.ndarray, side: int, size: int, row: float = CENTER, column: float = CENTER, mirrored: bool = False
) -> np.ndarray:
  """Returns a square crop of the resized image, without resizing the rest of it.

  Resizing an image to a shorter side of `side` and cropping `size` pixels equals cropping a square whose side is
  size / side of the shorter side and resizing that. The square is cut at whole pixels. It is enlarged by bilinear
  interpolation and reduced by averaging over pixel areas.

  Args:
    image: Pixels, uint8 [H, W, 3].
    side: Shorter side of the resized image in pixels.
    size: Side of the crop in pixels, at most `side`.
    row: Vertical position of the crop as a fraction, in [0, 1), of all possible positions.
    column: Horizontal position of the crop, likewise.
    mirrored: Whether the crop is mirrored horizontally.

  Returns:
    Pixels, uint8 [size, size, 3].
  """
  height, width, _ = image.shape
  shorter = min(height, width)
  square = min(max(1, round(shorter * size / side)), shorter)
  top, left = int(row * (height - square + 1)), int(column * (width - square + 1))
  cut = image[top : top + square, left : left + square]
  if square != size:
    cut = cv2.resize(cut, (size, size), interpolation=cv2.INTER_AREA if square > size else cv2.INTER_LINEAR)
  return cv2.flip(cut, 1) if mirrored else cut
