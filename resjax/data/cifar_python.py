"""CIFAR's Python version: pickles, read without executing code from them.

Unpickling calls any function that a pickle refers to. The unpickler here accepts only the names that an array and a
byte string need, replaces each by a class or function that only stores or encodes its arguments, and rejects every
other name. The published files were pickled by Python 2; copies that Python 3 pickled again refer to other names.
"""

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np

from resjax.data.cifar_format import SHAPE, Family, File, join_records
from resjax.settings import ConfigError

PIXELS = int(np.prod(SHAPE))
_UINT8 = (b"u1", "u1")


class _Type:
  """Replacement for numpy.dtype."""

  def __init__(self, code: Any, *_: Any):
    self.code = code

  def __setstate__(self, state: Any) -> None:
    """Ignores the state, byte order and alignment, which does not apply to bytes."""


class _Array:
  """Replacement for numpy.ndarray and its instances."""

  state: Any = None

  def __setstate__(self, state: Any) -> None:
    """Stores the state (version, shape, dtype, whether in Fortran order, bytes)."""
    self.state = state


def _reconstruct(*_: Any) -> _Array:
  return _Array()


def _frombuffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> _Array:
  """Returns the array of a pickle of protocol 5, which has no state."""
  array = _Array()
  array.state = 1, shape, dtype, order == "F", bytes(buffer)
  return array


def _encode(text: str, encoding: str) -> bytes:
  """Returns a byte string that Python 3 pickled as text, which it does up to protocol 2."""
  if encoding != "latin1":
    raise pickle.UnpicklingError(f"a byte string in encoding {encoding!r}, must be 'latin1'")
  return str(text).encode("latin1")


KNOWN: dict[tuple[str, str], Any] = {
  ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
  ("numpy._core.multiarray", "_reconstruct"): _reconstruct,  # NumPy 2
  ("numpy.core.numeric", "_frombuffer"): _frombuffer,
  ("numpy._core.numeric", "_frombuffer"): _frombuffer,
  ("_codecs", "encode"): _encode,
  ("numpy", "ndarray"): _Array,
  ("numpy", "dtype"): _Type,
}


class _Unpickler(pickle.Unpickler):
  def find_class(self, module: str, name: str) -> Any:
    """Returns the replacement for a name.

    Raises:
      UnpicklingError: The name is not in `KNOWN`.
    """
    if (module, name) not in KNOWN:
      raise pickle.UnpicklingError(f"it refers to {f'{module}.{name}'!r}; only numpy arrays are allowed")
    return KNOWN[module, name]


def read(contents: Mapping[str, bytes], family: Family, path: str) -> dict[str, bytes]:
  """Converts files of the Python version to the format of the binary version.

  Args:
    contents: Contents of the files of the Python version, by name.
    family: The data set.
    path: Path to name in an error message.

  Returns:
    Contents of the files of the binary version, by the same names.

  Raises:
    ConfigError: A file is not a valid pickle, refers to anything but numpy arrays, or has the wrong images or labels.
  """
  read = {}
  for file in family.files:
    try:
      read[file.name] = _records(_unpickle(contents[file.name]), file, family)
    except ConfigError as error:
      raise ConfigError(f"{path}: {file.name}: {error}") from None
  return read


def _unpickle(content: bytes) -> dict[Any, Any]:
  try:
    found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
  # A damaged or forged pickle can raise any exception.
  except Exception as error:
    raise ConfigError(f"not a valid pickle ({' '.join(str(error).split())[:200]})") from None
  if not isinstance(found, dict):
    raise ConfigError(f"contains a {type(found).__name__}, must be a dict")
  return {key.encode() if isinstance(key, str) else key: value for key, value in found.items()}


def _records(found: Mapping[Any, Any], file: File, family: Family) -> bytes:
  missing = [key.decode() for key in (b"data", *family.keys.values()) if key not in found]
  if missing:
    raise ConfigError(f"has no {missing[0]}")
  labels = [_labels(found[family.keys[label]], label, file, values) for label, values in family.labels.items()]
  return join_records(np.stack(labels, axis=1), _pixels(found[b"data"], file))


def _pixels(array: Any, file: File) -> np.ndarray:
  """Returns the pixels of a pickled array, uint8 [N, 3072]."""
  wanted = (file.records, PIXELS)
  match array.state if isinstance(array, _Array) else None:
    case (_, tuple(shape), _Type(code=code), bool(fortran), bytes(raw)):
      if shape != wanted or code not in _UINT8 or fortran or len(raw) != file.records * PIXELS:
        kind = code.decode(errors="replace") if isinstance(code, bytes) else code
        raise ConfigError(f"data is {kind} {list(shape)}, must be u1 {list(wanted)}, row by row")
      return np.frombuffer(raw, np.uint8).reshape(wanted)
  raise ConfigError("data must be a numpy array, u1 [N, 3072]")


def _labels(found: Any, label: str, file: File, values: int) -> np.ndarray:
  """Returns the labels of a file, uint8 [N]."""
  if not isinstance(found, list) or not all(type(number) is int for number in found):
    raise ConfigError(f"the values of {label} must be a list of integers")
  if len(found) != file.records:
    raise ConfigError(f"has {len(found):,} labels, must be {file.records:,}")
  wrong = [i for i, number in enumerate(found) if not 0 <= number < values]
  if wrong:
    raise ConfigError(f"record {wrong[0]} has {label} {found[wrong[0]]}, must be 0 to {values - 1}")
  return np.array(found, np.uint8)
