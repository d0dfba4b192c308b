"""Fixup (Zhang et al. 2019): residual networks without normalization, after the authors' repository.

A learned scalar bias, initially 0, stands before and after each convolution of a block, and before the classifier; a
learned scalar factor, initially 1, stands before the last bias of a block. Where a shortcut changes shapes, its input
has the block's first bias, too. Biases and factors learn at a tenth of the rate.
"""

from typing import Any

import jax

from resjax import config
from resjax.models.affine import Scalar

SCALAR_RATE = 0.1  # of the learning rate


def shift(x: jax.Array, name: str) -> jax.Array:
  """Returns the input, of any shape, plus the scalar bias of this name, a parameter of the module that calls."""
  return x + Scalar(0.0, name=name)(x)


def leave(y_BxHxWxC: jax.Array, layer: int, last: bool) -> jax.Array:
  """Returns the output of a block's convolution with its bias, and at the last one with the factor of the block."""
  y = Scalar(1.0, name="scale")(y_BxHxWxC) * y_BxHxWxC if last else y_BxHxWxC
  return shift(y, f"bias{layer}b")


def rate_factors(net: config.Model, params: Any) -> Any:
  """Returns the factor of the learning rate of each parameter: `SCALAR_RATE` for biases and factors, else 1.

  Args:
    net: Settings of the network.
    params: Its parameters.
  """
  own = SCALAR_RATE if net.structure.fixup else 1.0
  return jax.tree.map_with_path(lambda path, _: own if path[-1].key in ("value", "bias") else 1.0, params)
