"""The shortcuts of Sec. 3.3 and 4.1, and those of other papers, by name.

A shortcut is a function of the properties of its block, the block's input x and the output y = F(x) of its main branch.
It returns their combination, to which the block applies its activation, except in Highway networks. To add one, write
such a function and add an entry to `SHORTCUTS`.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from resjax import config
from resjax.models import dropout
from resjax.models.activations import activation
from resjax.models.affine import Bias, Scalar
from resjax.models.conv import Conv

HIGHWAY_GATE_BIAS = -2.0  # initial: at first most of the input passes unchanged (Srivastava et al. 2015)


@dataclasses.dataclass(frozen=True)
class BlockSpec:
  """Properties of a block that its shortcut depends on.

  Attributes:
    net: Settings of the network.
    channels: Channels of the block's output.
    stride: Stride of the block.
    kernel: Side of the kernel of the block's first layer, in pixels.
    norm: Constructor of a norm: norm(name=...). None in a pre-activation block, whose projection is not normalized.
    dropout_key: Data of the key of the dropout mask, uint32 [key size]; None: no mask, see `dropout.shortcut`.
  """

  net: config.Model
  channels: int
  stride: int
  kernel: int
  norm: Callable[..., nn.Module] | None
  dropout_key: jax.Array | None = None

  def changes_shape(self, x_BxHxWxC: jax.Array) -> bool:
    """Returns whether the shapes of the block's input and output differ."""
    return self.stride != 1 or x_BxHxWxC.shape[-1] != self.channels

  def conv(self, kernel: int, name: str) -> Conv:
    """Returns a convolution from the input of the block to the shape of its output, with a kernel of this side."""
    return Conv(self.channels, kernel, self.stride, padding=self.net.padding, name=name)

  def identity(self, x_BxHxWxC: jax.Array) -> jax.Array:
    """Returns the block's input in the shape of its output, see `identity_shortcut`."""
    return identity_shortcut(self.net, self.channels, self.stride, x_BxHxWxC)


def identity_shortcut(net: config.Model, channels: int, stride: int, x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns the input in another shape, without parameters (Sec. 3.3, option A).

  At stride 2 the feature maps are downsampled by 2; new channels are zero. If the shape stays, so does the input.

  Args:
    net: Settings of the network, of which `option_a_stride` and `option_a_zeros` are used.
    channels: Channels of the output, at least C.
    stride: Stride, 1 or 2.
    x_BxHxWxC: Input.

  Returns:
    Array [B, ceil(H / stride), ceil(W / stride), channels].
  """
  x = x_BxHxWxC if stride == 1 else DOWNSAMPLING[net.option_a_stride](x_BxHxWxC)
  new = channels - x.shape[-1]
  if new == 0:
    return x
  before = new // 2 if net.option_a_zeros == "both" else 0
  return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, new - before)))


def option_a(block: BlockSpec, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Option A: y plus the identity, zero-padded where shapes differ."""
  return y_BxPxQxO + block.identity(x_BxHxWxC)


def option_b(block: BlockSpec, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Option B: y plus the input, projected where shapes differ."""
  return y_BxPxQxO + (projection_shortcut(block, x_BxHxWxC) if block.changes_shape(x_BxHxWxC) else x_BxHxWxC)


def option_c(block: BlockSpec, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Option C: y plus the input, projected in every block (Eq. 2)."""
  return y_BxPxQxO + projection_shortcut(block, x_BxHxWxC)


def rezero(block: BlockSpec, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """ReZero (Bachlechner et al. 2020): y times a learned scalar, initially 0, plus the input as in option A.

  SkipInit (De and Smith 2020) is the same in networks without normalization.
  """
  return Scalar(0.0, name="gain")(y_BxPxQxO) * y_BxPxQxO + block.identity(x_BxHxWxC)


def highway(block: BlockSpec, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Highway networks (Srivastava et al. 2015): t H + (1 - t) x with H the activation of y, t the gate.

  The gate is the sigmoid of a convolution of x.
  """
  gate = block.conv(block.kernel, "gate")(x_BxHxWxC)
  t = nn.sigmoid(Bias(nn.initializers.constant(HIGHWAY_GATE_BIAS), name="gate_bias")(gate))
  return t * activation(block.net)(y_BxPxQxO) + (1 - t) * block.identity(x_BxHxWxC)


def half(block: BlockSpec, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Constant scaling of the shortcut alone (He et al. 2016, "Identity mappings", Sec. 3.1)."""
  return y_BxPxQxO + 0.5 * block.identity(x_BxHxWxC)


def mean(block: BlockSpec, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Constant scaling of both, as of gates that are frozen at 1/2 (He et al. 2016, "Identity mappings", Sec. 3.1)."""
  return 0.5 * y_BxPxQxO + 0.5 * block.identity(x_BxHxWxC)


def dropout_shortcut(block: BlockSpec, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Dropout of the shortcut alone, at a rate of 0.5 (He et al. 2016, "Identity mappings", Sec. 3.1)."""
  return y_BxPxQxO + dropout.shortcut(block.identity(x_BxHxWxC), block.dropout_key)


def shortcut_only_gating(block: BlockSpec, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Gate on the shortcut alone: y + (1 - g) x (He et al. 2016, "Identity mappings", Sec. 3.1)."""
  return y_BxPxQxO + (1 - _gate(block, x_BxHxWxC)) * block.identity(x_BxHxWxC)


def exclusive_gating(block: BlockSpec, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Exclusive gates: g y + (1 - g) x (He et al. 2016, "Identity mappings", Sec. 3.1)."""
  g = _gate(block, x_BxHxWxC)
  return g * y_BxPxQxO + (1 - g) * block.identity(x_BxHxWxC)


def _gate(block: BlockSpec, x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns g(x), the sigmoid of a 1x1 convolution with a bias, in the shape of the block's output."""
  gate = block.conv(1, "gate")(x_BxHxWxC)
  return nn.sigmoid(Bias(nn.initializers.constant(block.net.gate_bias), name="gate_bias")(gate))


def projection_shortcut(block: BlockSpec, x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns a 1x1 projection of the input to the shape of the block's output (Eq. 2)."""
  x = block.conv(1, "projection")(x_BxHxWxC)
  return block.norm(name="projection_norm")(x) if block.norm else x


def subsample(x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns every second pixel, starting at the first: the centres of a convolution of stride 2 with padding (1, 1)."""
  return x_BxHxWxC[:, ::2, ::2]


def average_2x2(x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns the mean of each 2x2 window; at the last row and column of an odd-sized map, the mean of fewer pixels."""
  odd = [(0, side % 2) for side in x_BxHxWxC.shape[1:3]]
  return nn.avg_pool(x_BxHxWxC, (2, 2), strides=(2, 2), padding=odd, count_include_pad=False)


DOWNSAMPLING = {"subsample": subsample, "average": average_2x2}

SHORTCUTS: dict[str, Callable[[BlockSpec, jax.Array, jax.Array], jax.Array]] = {
  "A": option_a,
  "B": option_b,
  "C": option_c,
  "rezero": rezero,
  "skipinit": rezero,
  "fixup": option_a,  # Fixup's biases and factors are in the main branch, see resjax/models/fixup.py
  "gated": highway,
  "half": half,
  "mean": mean,
  "gate": shortcut_only_gating,
  "exclusive_gate": exclusive_gating,
  "dropout": dropout_shortcut,
}
