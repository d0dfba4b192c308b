"""The shortcuts of Sec. 3.3 and 4.1, and those of other papers, by name.

A shortcut is a function of a block's `Branch`, the block's input x and the output y = F(x) of its main branch. It
returns their combination, to which the block applies its activation. To add one, write such a function and add an
entry to `SHORTCUTS`.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from resjax.models import dropout
from resjax.models.affine import Bias, Scalar

GATE_START = -2.0  # initial bias of a gate: at first most of the input passes unchanged (Srivastava et al. 2015)


@dataclasses.dataclass(frozen=True)
class Branch:
  """Properties of a block that its shortcut depends on.

  Attributes:
    channels: Channels of the block's output.
    stride: Stride of the block.
    kernel: Side of the kernel of the block's first layer.
    a_stride: Variant of option A's downsampling (`config.Model.option_a_stride`).
    a_zeros: Variant of option A's zero padding (`config.Model.option_a_zeros`).
    conv: Constructor of a convolution: conv(channels, kernel, stride, name=...).
    norm: Constructor of a batch norm: norm(name=...). None in a pre-activation block, whose projection is not
      normalized.
    gate_bias: Initial bias of the gates (`config.Model.gate_bias`).
    drawn: What a training step drew for dropout on the shortcut, see `dropout.shortcut`.
  """

  channels: int
  stride: int
  kernel: int
  a_stride: str
  a_zeros: str
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module] | None
  gate_bias: float = 0.0
  drawn: jax.Array | None = None

  def changes(self, x_BxHxWxC: jax.Array) -> bool:
    """Returns whether the shapes of the block's input and output differ."""
    return self.stride != 1 or x_BxHxWxC.shape[-1] != self.channels


def zero_padded(branch: Branch, x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns the input in the shape of the block's output, without parameters (Sec. 3.3, option A).

  Where the shapes differ, the feature maps are downsampled by 2 and the new channels are zero; elsewhere the input is
  returned as it is.
  """
  if not branch.changes(x_BxHxWxC):
    return x_BxHxWxC
  x = x_BxHxWxC
  if branch.stride != 1:
    x = HALVED[branch.a_stride](x)
  new = branch.channels - x.shape[-1]
  before = new // 2 if branch.a_zeros == "both" else 0
  return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, new - before)))


def option_a(branch: Branch, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Option A: y plus the identity, zero-padded where shapes differ."""
  return y_BxPxQxO + zero_padded(branch, x_BxHxWxC)


def option_b(branch: Branch, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Option B: y plus the input, projected where shapes differ."""
  return y_BxPxQxO + (projected(branch, x_BxHxWxC) if branch.changes(x_BxHxWxC) else x_BxHxWxC)


def option_c(branch: Branch, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Option C: y plus the input, projected in every block (Eq. 2)."""
  return y_BxPxQxO + projected(branch, x_BxHxWxC)


def gain_from_zero(branch: Branch, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """ReZero (Bachlechner et al. 2020): y times a learned scalar, initially 0, plus the input as in option A.

  SkipInit (De and Smith 2020) is the same in networks without normalization.
  """
  return Scalar(0.0, name="gain")(y_BxPxQxO) * y_BxPxQxO + zero_padded(branch, x_BxHxWxC)


def gated(branch: Branch, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Highway networks (Srivastava et al. 2015): t relu(y) + (1 - t) x, where t is the sigmoid of a convolution of x."""
  gate = branch.conv(branch.channels, branch.kernel, branch.stride, name="gate")(x_BxHxWxC)
  t = nn.sigmoid(Bias(nn.initializers.constant(GATE_START), name="gate_bias")(gate))
  return t * nn.relu(y_BxPxQxO) + (1 - t) * zero_padded(branch, x_BxHxWxC)


def half(branch: Branch, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Constant scaling of the shortcut alone (He et al. 2016, "Identity mappings", Sec. 3.1)."""
  return y_BxPxQxO + 0.5 * zero_padded(branch, x_BxHxWxC)


def mean(branch: Branch, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Constant scaling of both, as of gates that are frozen at 1/2 (He et al. 2016, "Identity mappings", Sec. 3.1)."""
  return 0.5 * y_BxPxQxO + 0.5 * zero_padded(branch, x_BxHxWxC)


def dropped(branch: Branch, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Dropout of the shortcut alone, at a rate of 0.5 (He et al. 2016, "Identity mappings", Sec. 3.1)."""
  return y_BxPxQxO + dropout.shortcut(zero_padded(branch, x_BxHxWxC), branch.drawn)


def shortcut_gate(branch: Branch, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Gate on the shortcut alone: y + (1 - g) x (He et al. 2016, "Identity mappings", Sec. 3.1)."""
  return y_BxPxQxO + (1 - _gate(branch, x_BxHxWxC)) * zero_padded(branch, x_BxHxWxC)


def exclusive_gate(branch: Branch, x_BxHxWxC: jax.Array, y_BxPxQxO: jax.Array) -> jax.Array:
  """Exclusive gates: g y + (1 - g) x (He et al. 2016, "Identity mappings", Sec. 3.1)."""
  g = _gate(branch, x_BxHxWxC)
  return g * y_BxPxQxO + (1 - g) * zero_padded(branch, x_BxHxWxC)


def _gate(branch: Branch, x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns g(x), the sigmoid of a 1x1 convolution with a bias, in the shape of the block's output."""
  gate = branch.conv(branch.channels, 1, branch.stride, name="gate")(x_BxHxWxC)
  return nn.sigmoid(Bias(nn.initializers.constant(branch.gate_bias), name="gate_bias")(gate))


def projected(branch: Branch, x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns a 1x1 projection of the input to the shape of the block's output (Eq. 2)."""
  x = branch.conv(branch.channels, 1, branch.stride, name="projection")(x_BxHxWxC)
  return branch.norm(name="projection_norm")(x) if branch.norm else x


def subsampled(x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns every second pixel, starting at the first: the centres of a convolution of stride 2 with padding (1, 1)."""
  return x_BxHxWxC[:, ::2, ::2]


def averaged(x_BxHxWxC: jax.Array) -> jax.Array:
  """Returns the mean of each 2x2 window; at the last row and column of an odd-sized map, the mean of fewer pixels."""
  odd = [(0, side % 2) for side in x_BxHxWxC.shape[1:3]]
  return nn.avg_pool(x_BxHxWxC, (2, 2), strides=(2, 2), padding=odd, count_include_pad=False)


HALVED = {"subsample": subsampled, "average": averaged}

SHORTCUTS: dict[str, Callable[[Branch, jax.Array, jax.Array], jax.Array]] = {
  "A": option_a,
  "B": option_b,
  "C": option_c,
  "rezero": gain_from_zero,
  "skipinit": gain_from_zero,
  "fixup": option_a,  # Fixup's biases and factors are in the main branch, see resjax/models/fixup.py
  "gated": gated,
  "half": half,
  "mean": mean,
  "gate": shortcut_gate,
  "exclusive_gate": exclusive_gate,
  "dropout": dropped,
}
