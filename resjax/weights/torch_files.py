"""State dicts in PyTorch's files, .th, .pth or .safetensors; no code in them is executed."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resjax.settings import ConfigError

SAFE = ".safetensors"
# Keys of state dicts in the checkpoints of training scripts: first of the network, then of averages of its weights.
WRAPPERS = (
  *("state_dict", "model_state_dict", "model", "module", "net"),
  *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
)
# Prefixes of all names, added by torch.compile, DataParallel, averaging of weights, Lightning and others.
PREFIXES = ("_orig_mod.", "module.", "model.", "ema_model.", "net.")
AVERAGE = "ema_model."  # prefix of averaged weights in a state dict that also contains the network itself
COUNTERS = ("n_averaged", "initted", "step")  # counters of averaged weights


def read(path: Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a state dict by name, without wrappers and without prefixes that all names share.

  If a file contains a network and the average of its weights, the network is returned.

  Raises:
    ConfigError: The file does not exist, is damaged, would execute code on unpickling, or contains no state dict.
    ModuleNotFoundError: PyTorch is not installed; .safetensors files do not need it.
  """
  if not path.is_file():
    raise ConfigError(f"{path}: no such file")
  arrays = _safetensors(path) if path.suffix == SAFE else _unpickle(path)
  return _strip_prefixes(arrays)


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes a state dict, in the .safetensors format if the path has that suffix.

  Raises:
    ConfigError: The file already exists.
    OSError: The file cannot be written.
    ModuleNotFoundError: PyTorch is not installed; .safetensors files do not need it.
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


def _strip_prefixes(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Returns the arrays without nested prefixes that all names share and without counters of averaged weights."""
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
  except (SafetensorError, TypeError, KeyError) as error:  # the last two for dtypes that numpy lacks
    raise ConfigError(f"{path}: not a .safetensors file, or damaged ({_line(error)})") from None


def _unpickle(path: Path) -> dict[str, np.ndarray]:
  import torch

  try:
    with warnings.catch_warnings(action="ignore"):  # it warns of pickles that it then rejects
      content = torch.load(path, map_location="cpu", weights_only=True)
  except pickle.UnpicklingError as error:
    raise ConfigError(f"{path}: contains more than weights, or is not a PyTorch file ({_line(error)})") from None
  # A damaged archive can raise any of these.
  except (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
    raise ConfigError(f"{path}: damaged, or not a PyTorch file ({_line(error)})") from None
  while isinstance(content, dict) and (key := next((k for k in WRAPPERS if isinstance(content.get(k), dict)), None)):
    content = content[key]
  if not isinstance(content, dict) or not content or not all(torch.is_tensor(value) for value in content.values()):
    raise ConfigError(f"{path}: contains no state dict (names and tensors, alone or under {', '.join(WRAPPERS)})")
  return {str(name): _array(tensor, torch) for name, tensor in content.items()}


def _array(tensor: Any, torch: Any) -> np.ndarray:
  """Returns a tensor as an array; float16 and bfloat16, which numpy lacks, are converted to float32."""
  return (tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor).detach().numpy()


def _line(error: Exception) -> str:
  """Returns the message of an error as one line of at most 150 characters."""
  words = " ".join(str(error).split()) or type(error).__name__
  return words if len(words) <= 150 else f"{words[:150]}..."
