"""PyTorch's files: state dicts as .th, .pth or .safetensors. No code in them is ever run."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resjax.settings import ConfigError

SAFE = ".safetensors"
WRAPPERS = ("state_dict", "model")  # where training scripts put the state dict beside other things
PARALLEL = "module."  # what DataParallel puts before every name


def read(path: Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a state dict by name, without DataParallel's prefix.

  Raises:
    ConfigError: there is no such file, it is damaged, would run code when it is unpickled, or holds no state dict.
    ModuleNotFoundError: PyTorch is not installed, which .safetensors does not need.
  """
  if not path.is_file():
    raise ConfigError(f"{path}: no such file")
  arrays = _safetensors(path) if path.suffix == SAFE else _unpickled(path)
  if all(name.startswith(PARALLEL) for name in arrays):
    arrays = {name.removeprefix(PARALLEL): array for name, array in arrays.items()}
  return arrays


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes a state dict, as .safetensors where the path says so.

  Raises:
    ConfigError: there is such a file already.
    OSError: the file cannot be written.
    ModuleNotFoundError: PyTorch is not installed, which .safetensors does not need.
  """
  if path.exists():
    raise ConfigError(f"{path}: exists; choose another --out")
  if path.suffix == SAFE:
    from safetensors.numpy import save

    path.write_bytes(save(dict(arrays)))
    return
  import torch

  with path.open("wb") as file:
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}, file)


def _safetensors(path: Path) -> dict[str, np.ndarray]:
  from safetensors import SafetensorError
  from safetensors.numpy import load

  try:
    return load(path.read_bytes())
  except (SafetensorError, TypeError, KeyError) as error:  # the last two: a type that numpy has not
    raise ConfigError(f"{path}: not a .safetensors file, or damaged ({_line(error)})") from None


def _unpickled(path: Path) -> dict[str, np.ndarray]:
  import torch

  try:
    with warnings.catch_warnings(action="ignore"):  # of pickles that it then refuses
      content = torch.load(path, map_location="cpu", weights_only=True)
  except pickle.UnpicklingError as error:
    raise ConfigError(f"{path}: holds more than weights, or is no file of PyTorch ({_line(error)})") from None
  # What a damaged archive raises is up to the layer that meets the damage.
  except (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
    raise ConfigError(f"{path}: damaged, or no file of PyTorch ({_line(error)})") from None
  for key in WRAPPERS:
    if isinstance(content, dict) and isinstance(content.get(key), dict):
      content = content[key]
  if not isinstance(content, dict) or not content or not all(torch.is_tensor(value) for value in content.values()):
    raise ConfigError(f"{path}: holds no state dict (names and tensors, alone or as {' or '.join(WRAPPERS)})")
  return {str(name): _array(tensor, torch) for name, tensor in content.items()}


def _array(tensor: Any, torch: Any) -> np.ndarray:
  """Returns a tensor as an array; half precision, which numpy has only in part, as float32."""
  return (tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor).detach().numpy()


def _line(error: Exception) -> str:
  """Returns the beginning of what an error says, in one line."""
  words = " ".join(str(error).split()) or type(error).__name__
  return words if len(words) <= 150 else f"{words[:150]}..."
