"""oneDNN's convolution, which jaxlib's CPU client contains on x86-64 Linux, called by the name XLA has for it.

XLA calls it by itself only where a flag says so, and then not for derivatives inside of loops. The name and its
description in JSON are internal to XLA: `available` compiles a small convolution and compares it before any other is
written this way.
"""

import functools
import json
from collections.abc import Sequence

import jax
import numpy as np

Pads = tuple[tuple[int, int], tuple[int, int]]  # zeros before and after, of height and of width

_TARGET = "__onednn$convolution"


@functools.cache
def available() -> bool:
  """Returns whether this process's CPU backend has oneDNN's convolution, tried once."""
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
  except Exception:  # whatever a jaxlib without it raises
    return False


def convolution(
  x: jax.Array,
  w: jax.Array,
  pads: Pads,
  stride: Sequence[int] = (1, 1),
  dilation: Sequence[int] = (1, 1),
  kernel: str = "HWIO",
) -> jax.Array:
  """Returns a convolution by oneDNN, float32 [B, H', W', O].

  Args:
    x: Images, float32 [B, H, W, I].
    w: Kernel, float32, its axes as `kernel` says.
    pads: Zeros around the images.
    stride: Of height and width.
    dilation: Distance of the kernel's rows and columns, 1 for a dense kernel.
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
    (size + sum(pad) - (sizes[axis] - 1) * apart - 1) // step + 1
    for size, pad, axis, apart, step in zip(x.shape[1:3], pads, "HW", dilation, stride, strict=True)
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
