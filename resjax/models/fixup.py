"""Fixup (Zhang et al. 2019): residual networks without normalization, as in the authors' repository.

A learned scalar bias, initially 0, is added before and after each convolution of a block, and before the classifier. A
learned scalar factor, initially 1, multiplies the output of the last convolution of a block before its bias is added.
If a shortcut changes shapes, the first bias of the block is added to its input, too. Biases and factors are trained at
a tenth of the learning rate.
"""

from typing import Any

import jax

from resjax import config
from resjax.models.affine import Scalar

SCALAR_RATE = 0.1  # factor of the learning rate for biases and factors


def add_bias(x: jax.Array, name: str) -> jax.Array:
  """Returns the input, of any shape, plus a scalar bias, which is a parameter of the calling module.

  Args:
    x: Input.
    name: Name of the parameter.
  """
  return x + Scalar(0.0, name=name)(x)


def after_convolution(y_BxHxWxC: jax.Array, layer: int, last: bool) -> jax.Array:
  """Returns the output of a convolution with its bias and, after the last one of a block, the factor of the block.

  Args:
    y_BxHxWxC: Output of the convolution.
    layer: 1-based position of the convolution in the main branch.
    last: Whether it is the last convolution of the main branch.
  """
  y = Scalar(1.0, name="scale")(y_BxHxWxC) * y_BxHxWxC if last else y_BxHxWxC
  return add_bias(y, f"bias{layer}b")


def rate_factors(net: config.Model, params: Any) -> Any:
  """Returns the factor of the learning rate of each parameter: `SCALAR_RATE` for biases and factors, else 1.

  Args:
    net: Settings of the network.
    params: Parameters of the network.
  """
  factor = SCALAR_RATE if net.structure.fixup else 1.0
  return jax.tree.map_with_path(lambda path, _: factor if path[-1].key in ("value", "bias") else 1.0, params)
