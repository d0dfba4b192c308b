"""PyTorch's files: state dicts as .th, .pth or .safetensors. No code in them is ever run."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resjax.settings import ConfigError

SAFE = ".safetensors"
# Where training scripts put the state dict beside other things: the net itself, then averages of its weights over time.
WRAPPERS = (
  *("state_dict", "model_state_dict", "model", "module", "net"),
  *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
)
# What is put before every name: by torch.compile, by DataParallel and averages of weights, by Lightning and others.
PREFIXES = ("_orig_mod.", "module.", "model.", "ema_model.", "net.")
AVERAGE = "ema_model."  # of the averages that are kept beside the net itself in one state dict
COUNTERS = ("n_averaged", "initted", "step")  # of averages


def read(path: Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a state dict by name, out of whatever wraps it and without prefixes of all names.

  Of a file with a net and the average of its weights it is the net's.

  Raises:
    ConfigError: there is no such file, it is damaged, would run code when it is unpickled, or holds no state dict.
    ModuleNotFoundError: PyTorch is not installed, which .safetensors does not need.
  """
  if not path.is_file():
    raise ConfigError(f"{path}: no such file")
  arrays = _safetensors(path) if path.suffix == SAFE else _unpickled(path)
  return _bare(arrays)


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


def _bare(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns arrays without the prefixes that all names have, in any nesting, and without what counts averages."""
  while True:
    bare = {name: array for name, array in arrays.items() if name not in COUNTERS}
    if any(name.startswith(AVERAGE) for name in bare):
      bare = {name: array for name, array in bare.items() if name.startswith(AVERAGE)}
    prefix = next((each for each in PREFIXES if bare and all(name.startswith(each) for name in bare)), None)
    if prefix is None:
      return bare
    arrays = {name.removeprefix(prefix): array for name, array in bare.items()}


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
  while isinstance(content, dict) and (key := next((k for k in WRAPPERS if isinstance(content.get(k), dict)), None)):
    content = content[key]
  if not isinstance(content, dict) or not content or not all(torch.is_tensor(value) for value in content.values()):
    raise ConfigError(f"{path}: holds no state dict (names and tensors, alone or as {', '.join(WRAPPERS)})")
  return {str(name): _array(tensor, torch) for name, tensor in content.items()}


def _array(tensor: Any, torch: Any) -> np.ndarray:
  """Returns a tensor as an array; half precision, which numpy has only in part, as float32."""
  return (tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor).detach().numpy()


def _line(error: Exception) -> str:
  """Returns the beginning of what an error says, in one line."""
  words = " ".join(str(error).split()) or type(error).__name__
  return words if len(words) <= 150 else f"{words[:150]}..."
