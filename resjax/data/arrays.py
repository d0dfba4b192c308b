"""Data sets in one .npz file with the arrays `x_train`, `y_train`, `x_test` and `y_test`, as Keras names them."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resjax.config import Data
from resjax.data.dataset import Description, Images, Source
from resjax.settings import ConfigError

NAMES = ("x_train", "y_train", "x_test", "y_test")
CHANNELS = (1, 3, 4)


def describe(data: Data) -> Description:
  """Describes the data set from the headers of the image arrays and the labels.

  Raises:
    ConfigError: The file cannot be used; see `load`.
  """
  with _open_file(data) as file:
    train, test = _shapes(file)
    y_train, y_test = _labels(file, train[0], test[0])
  return Description(train[1:], int(y_train.max()) + 1, len(y_train), len(y_test))


def load(data: Data) -> Source:
  """Reads the arrays of an .npz file.

  `x_train` and `x_test` are uint8 [N, H, W] or [N, H, W, C] with the same H, W and C; C is 1, 3 or 4, and H and W are
  greater than 4, so that axes cannot be confused. `y_train` and `y_test` are integers [N] or [N, 1], classes 0 to
  K - 1, each of which occurs in `y_train`. Other arrays are ignored, and nothing is unpickled.

  Raises:
    ConfigError: The file does not exist or is damaged, or an array is missing or does not conform to the above.
  """
  with _open_file(data) as file:
    train, test = _shapes(file)
    y_train, y_test = _labels(file, train[0], test[0])
    # Images without a channel axis get one channel; arrays in Fortran order are converted to C order.
    x_train, x_test = (
      np.ascontiguousarray(file[name].reshape(shape)) for name, shape in (("x_train", train), ("x_test", test))
    )
  return Source(Images(x_train, y_train), Images(x_test, y_test), int(y_train.max()) + 1, str(_path(data)), "npz")


def _path(data: Data) -> Path:
  if not data.path:
    raise ConfigError("data.path is empty: data.name = 'npz' needs the path of an .npz file")
  return Path(data.path).expanduser()


@contextlib.contextmanager
def _open_file(data: Data) -> Iterator[np.lib.npyio.NpzFile]:
  """Opens the file at `data.path`; any error on opening or reading it becomes a ConfigError."""
  path = _path(data)
  if not path.is_file():
    raise ConfigError(f"data.path = {data.path!r}: no such file")
  if not zipfile.is_zipfile(path):
    raise ConfigError(f"{path}: not an .npz file, or truncated")
  try:
    with np.load(path, allow_pickle=False) as file:
      yield file
  except ConfigError as error:
    raise ConfigError(f"{path}: {error}") from None
  except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
    raise ConfigError(f"{path}: damaged ({' '.join(str(error).split())})") from None


def _shapes(file: np.lib.npyio.NpzFile) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
  """Returns (N, H, W, C) of the training and of the test images, from the headers of the arrays."""
  missing = [name for name in NAMES if name not in file.files]
  if missing:
    raise ConfigError(f"has no array {missing[0]}; it must have {', '.join(NAMES)}")
  shapes = []
  for name in ("x_train", "x_test"):
    shape, dtype = _header(file, name)
    if dtype != np.uint8:
      raise ConfigError(f"{name} is {dtype}, must be uint8")
    if len(shape) not in (3, 4) or 0 in shape:
      raise ConfigError(f"{name} has shape {shape}, must be [N, H, W] or [N, H, W, C], none of them 0")
    _check_axes(name, shape)
    images, height, width, channels = (*shape, 1)[:4]
    shapes.append((images, height, width, channels))
  train, test = shapes
  if train[1:] != test[1:]:
    raise ConfigError(f"x_test has images of shape {test[1:]}, must be {train[1:]} as in x_train")
  return train, test


def _check_axes(name: str, shape: tuple[int, ...]) -> None:
  """Raises ConfigError if a shape is not unambiguously [N, H, W] or [N, H, W, C]."""
  _, *sides = shape if len(shape) == 3 else shape[:-1]
  channels_last = len(shape) == 3 or shape[-1] in CHANNELS
  if channels_last and min(sides) > max(CHANNELS):
    return
  allowed = " or ".join(map(str, CHANNELS))
  if len(shape) == 4 and shape[1] in CHANNELS and min(shape[2:]) > max(CHANNELS):
    raise ConfigError(
      f"{name} has shape {shape}, which is [N, C, H, W]; the channels must come last: {name}.transpose(0, 2, 3, 1)"
    )
  if not channels_last:
    raise ConfigError(f"{name} has shape {shape}, must be [N, H, W] or [N, H, W, C] with C = {allowed}")
  raise ConfigError(
    f"{name} has shape {shape}: sides of {max(CHANNELS)} pixels or fewer can be mistaken for channels; "
    "enlarge the images"
  )


def _header(file: np.lib.npyio.NpzFile, name: str) -> tuple[tuple[int, ...], np.dtype]:
  """Returns the shape and dtype of an array without reading its values."""
  readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
  assert file.zip is not None  # it is until the file is closed
  with file.zip.open(f"{name}.npy") as stream:
    version = np.lib.format.read_magic(stream)
    if version not in readers:  # later versions are for structured arrays
      raise ConfigError(f"{name} is an array in a .npy format of a later version; save it as a uint8 or integer array")
    shape, _, dtype = readers[version](stream)
  return shape, dtype


def _labels(file: np.lib.npyio.NpzFile, train: int, test: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns the labels of the training and the test images, int32 [train] and int32 [test]."""
  found = []
  for name, images in (("y_train", train), ("y_test", test)):
    shape, dtype = _header(file, name)
    if dtype.kind not in "iu":
      raise ConfigError(f"{name} is {dtype}, must be integers")
    if shape not in ((images,), (images, 1)):
      raise ConfigError(f"{name} has shape {shape}, must be ({images},) or ({images}, 1), one label per image")
    found.append(file[name].reshape(-1))
  y_train, y_test = found
  # A very large label would add classes without images and enlarge the last layer, so each class must occur.
  present = np.unique(y_train)
  absent = np.flatnonzero(present != np.arange(len(present)))
  if len(absent):
    raise ConfigError(
      f"y_train has label {present[absent[0]]} but not {absent[0]}; labels must be 0 to K - 1, and each must occur"
    )
  unknown = y_test[(y_test < 0) | (y_test >= len(present))]
  if len(unknown):
    raise ConfigError(f"y_test has label {unknown[0]}, must be 0 to {len(present) - 1} as in y_train")
  return y_train.astype(np.int32), y_test.astype(np.int32)
