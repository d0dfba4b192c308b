"""CIFAR's Python version: pickles of Python 2, read without running code.

Unpickling calls whatever a pickle names. The unpickler here knows the three names of numpy that these files need, has
for each of them a stand-in that only keeps what it is given, and refuses every other name.
"""

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from resjax.data.cifar_format import SHAPE, Family, File, joined
from resjax.settings import ConfigError

PIXELS = int(np.prod(SHAPE))
_UINT8 = b"u1"


class _Type:
  """Stands for numpy.dtype."""

  def __init__(self, code: Any, *_: Any):
    self.code = code

  def __setstate__(self, state: Any) -> None:
    """Takes byte order and the like, which a byte has not."""


class _Array:
  """Stands for numpy.ndarray, the class and its objects."""

  state: Any = None

  def __setstate__(self, state: Any) -> None:
    """Keeps (version, shape, type, whether in Fortran order, bytes)."""
    self.state = state


def _reconstruct(*_: Any) -> _Array:
  return _Array()


KNOWN: dict[tuple[str, str], Any] = {
  ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
  ("numpy", "ndarray"): _Array,
  ("numpy", "dtype"): _Type,
}


class _Unpickler(pickle.Unpickler):
  def find_class(self, module: str, name: str) -> Any:
    """Returns the stand-in for one of the known names.

    Raises:
      UnpicklingError: it is another.
    """
    if (module, name) not in KNOWN:
      raise pickle.UnpicklingError(f"it names {f'{module}.{name}'!r}; only arrays of numpy may be in it")
    return KNOWN[module, name]


def read(contents: Mapping[str, bytes], family: Family, path: str) -> dict[str, bytes]:
  """Returns what the files of the binary version hold, made of those of the Python version, by the same names.

  Args:
    contents: of the files of the Python version.
    family: the data set.
    path: what the error names.

  Raises:
    ConfigError: a file is no such pickle, names anything but numpy's arrays, or has not the right images and labels.
  """
  read = {}
  for file in family.files:
    try:
      read[file.name] = _records(_unpickled(contents[file.name]), file, family)
    except ConfigError as error:
      raise ConfigError(f"{path}: {file.name}: {error}") from None
  return read


def _unpickled(content: bytes) -> dict[Any, Any]:
  try:
    found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
  # What a damaged or made-up pickle raises is up to the opcode that meets the damage.
  except Exception as error:
    raise ConfigError(f"not a pickle as it should be ({' '.join(str(error).split())[:200]})") from None
  if not isinstance(found, dict):
    raise ConfigError(f"must be a dict, is of type {type(found).__name__}")
  return found


def _records(found: Mapping[Any, Any], file: File, family: Family) -> bytes:
  missing = [key.decode() for key in (b"data", *family.keys.values()) if key not in found]
  if missing:
    raise ConfigError(f"has no {missing[0]}")
  labels = [_labels(found[family.keys[label]], label, file, values) for label, values in family.labels.items()]
  return joined(np.stack(labels, axis=1), _pixels(found[b"data"], file))


def _pixels(array: Any, file: File) -> np.ndarray:
  """Returns uint8 [N, 3072] of what an array was pickled as."""
  wanted = (file.records, PIXELS)
  match array.state if isinstance(array, _Array) else None:
    case (_, tuple(shape), _Type(code=code), bool(fortran), bytes(raw)):
      if shape != wanted or code != _UINT8 or fortran or len(raw) != file.records * PIXELS:
        kind = code.decode(errors="replace") if isinstance(code, bytes) else code
        raise ConfigError(f"data is {kind} {list(shape)}, must be u1 {list(wanted)}, row by row")
      return np.frombuffer(raw, np.uint8).reshape(wanted)
  raise ConfigError("data is not an array of numpy")


def _labels(found: Any, label: str, file: File, values: int) -> np.ndarray:
  """Returns labels as uint8 [N]."""
  if not isinstance(found, list) or not all(type(number) is int for number in found):
    raise ConfigError(f"the labels must be a list of integers, those called {label} are not")
  if len(found) != file.records:
    raise ConfigError(f"has {len(found):,} labels, must be {file.records:,}")
  wrong = [i for i, number in enumerate(found) if not 0 <= number < values]
  if wrong:
    raise ConfigError(f"record {wrong[0]} has {label} {found[wrong[0]]}, must be 0 to {values - 1}")
  return np.array(found, np.uint8)
