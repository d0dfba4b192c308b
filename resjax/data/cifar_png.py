"""Decoding of CIFAR images stored as PNG files, as by tensorflow-datasets and Hugging Face."""

import io

import numpy as np
from PIL import Image

from resjax.data.cifar_format import SHAPE


def decode(content: bytes) -> np.ndarray:
  """Returns the pixels, uint8 [32, 32, 3].

  Raises:
    ValueError: The image is not 32x32 pixels in RGB.
    OSError: The file is damaged or not an image.
  """
  with Image.open(io.BytesIO(content)) as image:
    if image.mode != "RGB" or image.size != SHAPE[:2]:
      raise ValueError(f"an image of {image.width}x{image.height} pixels in mode {image.mode}, must be 32x32 in RGB")
    return np.asarray(image)
