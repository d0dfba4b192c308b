"""Image files decoded once to arrays of one size, for data sets that are small at that size, such as Tiny ImageNet."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from resjax import host
from resjax.config import Data
from resjax.data.dataset import Images
from resjax.data.files import Files, Unreadable
from resjax.data.image_decoder import crop, decode
from resjax.settings import ConfigError

MOST = 16 * 2**30  # maximum bytes of images on every device


def check_size(data: Data, images: int) -> None:
  """Raises ConfigError if `images` images need too much memory on the devices."""
  size = images * data.image_size**2 * 3
  if size > MOST:
    side = data.image_size
    raise ConfigError(
      f"data.resize is empty: {images:,} images of {side}x{side} pixels need {size / 2**30:.1f} GiB on every device, "
      f"at most {MOST / 2**30:.0f} GiB are allowed; set data.resize=({side},{side}) to decode them in every epoch"
    )


def decode_all(files: Files, size: int) -> tuple[Images, tuple[str, ...]]:
  """Decodes the center square of all images, resized.

  Args:
    files: Image files.
    size: Side of the results in pixels.

  Returns:
    Readable images in order, and the error message of each unreadable one.
  """
  pixels, labels = np.empty((len(files), size, size, 3), np.uint8), np.empty(len(files), np.int32)

  def one(index: int) -> str:
    try:
      image = files.read(index)
      pixels[index] = crop(decode(image, size), size, size)
      labels[index] = image.label
    except Unreadable as error:
      return str(error)
    return ""

  with ThreadPoolExecutor(host.cpu_cores()) as pool:  # the decoders release the GIL
    faults = list(pool.map(one, range(len(files))))
  if not any(faults):
    return Images(pixels, labels), ()
  sound = np.array([not fault for fault in faults])
  return Images(pixels[sound], labels[sound]), tuple(filter(None, faults))
