"""One CIFAR image as tensorflow-datasets and Hugging Face keep it: a PNG file."""

import io

import numpy as np
from PIL import Image

from resjax.data.cifar_format import SHAPE


def decode(content: bytes) -> np.ndarray:
  """Returns the pixels, uint8 [32, 32, 3].

  Raises:
    ValueError: it is an image of another size or of other channels than red, green and blue.
    OSError: it is damaged, or no image.
  """
  with Image.open(io.BytesIO(content)) as image:
    if image.mode != "RGB" or image.size != SHAPE[:2]:
      raise ValueError(f"an image of {image.width}x{image.height} pixels in mode {image.mode}, must be 32x32 in RGB")
    return np.asarray(image)
