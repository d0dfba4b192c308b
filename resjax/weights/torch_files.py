"""State dicts in PyTorch's files, .th, .pth or .safetensors; no code in them is executed."""

import pickle
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resjax.settings import ConfigError

SAFE = ".safetensors"
# Keys of state dicts in the checkpoints of training scripts: of the network, and of averages of its weights.
NETWORKS = ("state_dict", "model_state_dict", "model", "module", "net")
AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
AVERAGE = "ema_model."  # prefix of averaged weights in a state dict
# Prefixes of all names, added by torch.compile, DataParallel, averaging of weights, Lightning and others.
PREFIXES = ("_orig_mod.", "module.", "model.", "online_model.", AVERAGE, "net.")
COUNTERS = ("n_averaged", "initted", "step")  # counters of averaged weights
FLOATS = "must be float32, float16 or bfloat16"
# Types of numpy by their names in .safetensors files. Integers are counters.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"} | {
  f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)
}


def read(path: Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a state dict by name, without wrappers and without prefixes that all names share.

  If a file contains a network and the average of its weights, the network is returned, and a line on stderr says so.

  Args:
    path: File, in the .safetensors format if it has that suffix.

  Returns:
    Arrays, float32 where the file has float16 or bfloat16.

  Raises:
    ConfigError: The file does not exist, is damaged, would execute code on unpickling, contains no state dict, or has
      an array of an unsupported dtype.
    ModuleNotFoundError: PyTorch is not installed; .safetensors files do not need it.
  """
  if not path.is_file():
    raise ConfigError(f"{path}: no such file")
  arrays, average = (_safetensors(path), False) if path.suffix == SAFE else _unpickle(path)
  stripped, other_average = _strip_prefixes(arrays)
  if average or other_average:
    print(f"{path}: contains a network and an average of its weights; the average is left out", file=sys.stderr)
  return stripped


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


def _strip_prefixes(arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], bool]:
  """Removes nested prefixes that all names share, counters of averaged weights, and averages next to a network.

  Returns:
    Arrays by their names without prefixes, and whether an average was removed.
  """
  while True:
    bare = {name: array for name, array in arrays.items() if name not in COUNTERS}
    network = {name: array for name, array in bare.items() if not name.startswith(AVERAGE)}
    average = {name.removeprefix(AVERAGE): array for name, array in bare.items() if name.startswith(AVERAGE)}
    if network and average:
      network, average = _strip_prefixes(network)[0], _strip_prefixes(average)[0]
      # Without the network, the other names are settings of the average.
      return (network, True) if average.keys() <= network.keys() else (average, False)
    prefix = next((each for each in PREFIXES if bare and all(name.startswith(each) for name in bare)), None)
    if prefix is None:
      return bare, False
    arrays = {name.removeprefix(prefix): array for name, array in bare.items()}


def _safetensors(path: Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a .safetensors file by name."""
  from safetensors import SafetensorError, deserialize

  try:
    content = deserialize(path.read_bytes())
  except SafetensorError as error:
    raise ConfigError(f"{path}: not a .safetensors file, or damaged ({_line(error)})") from None
  return {name: _decode(path, name, entry) for name, entry in content}


def _decode(path: Path, name: str, entry: Mapping[str, Any]) -> np.ndarray:
  """Returns an array of a .safetensors file; float16 and bfloat16 are converted to float32."""
  dtype, data, shape = entry["dtype"], entry["data"], entry["shape"]
  if dtype == "BF16":  # the upper half of a float32
    return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
  if dtype not in DTYPES:
    raise ConfigError(f"{path}: {name} has dtype {dtype}; {FLOATS}")
  array = np.frombuffer(data, DTYPES[dtype]).reshape(shape)
  return array.astype(np.float32) if dtype == "F16" else array


def _unpickle(path: Path) -> tuple[dict[str, np.ndarray], bool]:
  """Returns the arrays of a pickled state dict by name, and whether an average of them was left out."""
  import torch

  try:
    with warnings.catch_warnings(action="ignore"):  # it warns of pickles that it then rejects
      content = torch.load(path, map_location="cpu", weights_only=True)
  except pickle.UnpicklingError as error:
    raise ConfigError(
      f"{path}: contains more than weights, or is not a PyTorch file ({_line(error)}); load it in PyTorch and save its "
      "state_dict alone: torch.save(net.state_dict(), FILE)"
    ) from None
  # A damaged archive can raise any of these.
  except (OSError, RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError, TypeError) as error:
    raise ConfigError(f"{path}: damaged, or not a PyTorch file ({_line(error)})") from None
  left_out = False
  while isinstance(content, dict) and (
    found := [key for key in (*NETWORKS, *AVERAGES) if isinstance(content.get(key), dict)]
  ):
    left_out |= found[0] in NETWORKS and found[-1] in AVERAGES
    content = content[found[0]]
  if not isinstance(content, dict) or not content or not all(torch.is_tensor(value) for value in content.values()):
    listed = ", ".join((*NETWORKS, *AVERAGES))
    raise ConfigError(f"{path}: contains no state dict (names and tensors, alone or under {listed})")
  return {str(name): _array(path, str(name), tensor, torch) for name, tensor in content.items()}, left_out


def _array(path: Path, name: str, tensor: Any, torch: Any) -> np.ndarray:
  """Returns a tensor as an array; float16 and bfloat16 are converted to float32.

  Raises:
    ConfigError: The tensor has another floating-point type, or is complex, quantized or sparse.
  """
  if tensor.dtype in (torch.float16, torch.bfloat16):
    tensor = tensor.float()
  dtype = str(tensor.dtype).removeprefix("torch.")
  if tensor.layout != torch.strided:
    raise ConfigError(f"{path}: {name} is sparse; must be dense")
  if dtype not in ("float32", "float64", "bool") and not dtype.startswith(("int", "uint")):
    raise ConfigError(f"{path}: {name} has dtype {dtype}; {FLOATS}")
  return tensor.detach().numpy()


def _line(error: Exception) -> str:
  """Returns the message of an error as one line of at most 150 characters."""
  words = " ".join(str(error).split()) or type(error).__name__
  return words if len(words) <= 150 else f"{words[:150]}..."
