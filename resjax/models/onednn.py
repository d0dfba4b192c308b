"""oneDNN's convolution, which jaxlib's CPU client contains on x86-64 Linux, called by XLA's internal name for it.

XLA itself calls it only if a flag is set, and even then not for derivatives inside loops. The name and the JSON format
of its parameters are internal to XLA and may change, so `available` first compiles a small convolution and checks its
result.
"""

import functools
import json
from collections.abc import Sequence

import jax
import numpy as np

Pads = tuple[tuple[int, int], tuple[int, int]]  # padding (before, after) of height and of width

_TARGET = "__onednn$convolution"


@functools.cache
def available() -> bool:
  """Returns whether the CPU backend of this process has oneDNN's convolution, which is tried once."""
  if jax.default_backend() != "cpu":
    return False
  x = np.arange(2 * 5 * 4 * 3, dtype=np.float32).reshape(2, 5, 4, 3) % 7 - 3
  w = np.arange(3 * 3 * 3 * 2, dtype=np.float32).reshape(3, 3, 3, 2) % 5 - 2
  pads = ((1, 1), (0, 1))
  expected = np.zeros((2, 3, 3, 2), np.float32)
  padded = np.pad(x, ((0, 0), *pads, (0, 0)))
  for i in range(3):
    for j in range(3):
      expected[:, i, j] = np.einsum("bhwc,hwco->bo", padded[:, 2 * i : 2 * i + 3, j : j + 3], w)
  try:
    with jax.ensure_compile_time_eval(), jax.default_device(jax.local_devices(backend="cpu")[0]):
      found = jax.jit(functools.partial(convolution, pads=pads, stride=(2, 1)))(x, w)
      return bool(np.array_equal(found, expected))  # small integers: exact
  except Exception:  # a jaxlib without it may raise anything
    return False


def convolution(
  x: jax.Array,
  w: jax.Array,
  pads: Pads,
  stride: Sequence[int] = (1, 1),
  dilation: Sequence[int] = (1, 1),
  kernel: str = "HWIO",
) -> jax.Array:
  """Returns a convolution computed by oneDNN, float32 [B, H', W', O].

  Args:
    x: Images, float32 [B, H, W, I].
    w: Kernel, float32, with its axes in the order that `kernel` names.
    pads: Zero padding of the images, in pixels.
    stride: Strides of height and width.
    dilation: Dilations of the kernel's height and width; 1 for a dense kernel.
    kernel: Order of the kernel's axes, a permutation of "HWIO".
  """
  sizes = dict(zip(kernel, w.shape, strict=True))
  image = {"data": {"batch_dim": "0", "feature_dim": "3", "spatial_dims": ["1", "2"]}}
  filters = {
    "input_feature_dim": str(kernel.index("I")),
    "output_feature_dim": str(kernel.index("O")),
    "spatial_dims": [str(kernel.index(axis)) for axis in "HW"],
    "shape": _strings(w.shape),
  }
  window = {
    "pad_left": _strings(before for before, _ in pads),
    "pad_right": _strings(after for _, after in pads),
    "strides": _strings(stride),
    "window_dilations": _strings(dilation),
  }
  config = {
    "dims": "4",
    "feature_groups": "1",
    "input": image,
    "output": image,
    "kernel": {"filter": filters},
    "window": window,
  }
  sides = [
    (size + sum(pad) - (sizes[axis] - 1) * rate - 1) // step + 1
    for size, pad, axis, rate, step in zip(x.shape[1:3], pads, "HW", dilation, stride, strict=True)
  ]
  call = jax.ffi.ffi_call(
    _TARGET,
    jax.ShapeDtypeStruct((len(x), *sides, sizes["O"]), x.dtype),
    custom_call_api_version=2,
    legacy_backend_config=json.dumps({"onednn_conv_config": config}),
    vmap_method="sequential",
  )
  return call(x, w)


def _strings(numbers) -> list[str]:
  return [str(int(number)) for number in numbers]
