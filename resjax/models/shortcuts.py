"""The shortcuts of Sec. 3.3 and 4.1, and others', by name. Adding one is one function and one entry of `SHORTCUTS`.

A shortcut is a function of a block's `Branch`, the block's input x and its main branch's output y = F(x); it returns
what the two become, which is followed by the block's activation.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from resjax.depth import Structure
from resjax.models.affine import Bias, Scalar
from resjax.models.conv import HE_NORMAL

GATE_START = -2.0  # bias of a gate's sigmoid at first: most of the input is carried on (Srivastava et al. 2015)


@dataclasses.dataclass(frozen=True)
class Branch:
  """What a shortcut may need to know of its block.

  Attributes:
    channels: of the block's output.
    stride: of the block.
    kernel: side of its first layer's kernel.
    a_stride, a_zeros: the variants of option A (`config.Model.option_a_stride`, `option_a_zeros`).
    conv: makes a convolution: conv(channels, kernel, stride, name=...).
    norm: makes a batch norm: norm(name=...); None in a pre-activation block, whose projection has none.
  """

  channels: int
  stride: int
  kernel: int
  a_stride: str
  a_zeros: str
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module] | None

  def changes(self, x_BxHxWxC: jax.Array) -> bool:
    """Whether the block's output has another shape than its input."""
    return self.stride != 1 or x_BxHxWxC.shape[-1] != self.channels


def zero_padded(branch: Branch, x_BxHxWxC: jax.Array) -> jax.Array:
  """Option A: identity, halved maps and zeros for the new channels where shapes change; no parameters."""
  if not branch.changes(x_BxHxWxC):
    return x_BxHxWxC
  x = x_BxHxWxC
  if branch.stride != 1:
    x = HALVED[branch.a_stride](x)
  new = branch.channels - x.shape[-1]
  before = new // 2 if branch.a_zeros == "both" else 0
  return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (before, new - before)))


def option_a(branch: Branch, x_BxHxWxC: jax.Array, y_BxHxWxC: jax.Array) -> jax.Array:
  """Option A: y plus the input, `zero_padded`."""
  return y_BxHxWxC + zero_padded(branch, x_BxHxWxC)


def option_b(branch: Branch, x_BxHxWxC: jax.Array, y_BxHxWxC: jax.Array) -> jax.Array:
  """Option B: y plus the input, projected where shapes change."""
  return y_BxHxWxC + (projected(branch, x_BxHxWxC) if branch.changes(x_BxHxWxC) else x_BxHxWxC)


def option_c(branch: Branch, x_BxHxWxC: jax.Array, y_BxHxWxC: jax.Array) -> jax.Array:
  """Option C: y plus the input, projected in every block (Eq. 2)."""
  return y_BxHxWxC + projected(branch, x_BxHxWxC)


def gain_from_zero(branch: Branch, x_BxHxWxC: jax.Array, y_BxHxWxC: jax.Array) -> jax.Array:
  """ReZero (Bachlechner et al. 2020): y times one learnt number, which starts at 0, plus the input as in option A.

  SkipInit (De and Smith 2020) is the same in nets without norms.
  """
  return Scalar(0.0, name="gain")(y_BxHxWxC) * y_BxHxWxC + zero_padded(branch, x_BxHxWxC)


def fixup(branch: Branch, x_BxHxWxC: jax.Array, y_BxHxWxC: jax.Array) -> jax.Array:
  """As in Fixup (Zhang et al. 2019): a learnt gain and shift of y, which start at 1 and 0; see `branch_start`."""
  scaled = Scalar(1.0, name="gain")(y_BxHxWxC) * y_BxHxWxC + Scalar(0.0, name="shift")(y_BxHxWxC)
  return scaled + zero_padded(branch, x_BxHxWxC)


def gated(branch: Branch, x_BxHxWxC: jax.Array, y_BxHxWxC: jax.Array) -> jax.Array:
  """Highway nets (Srivastava et al. 2015): t relu(y) + (1 - t) x, t = sigmoid of a convolution of x."""
  gate = branch.conv(branch.channels, branch.kernel, branch.stride, name="gate")(x_BxHxWxC)
  t = nn.sigmoid(Bias(GATE_START, name="gate_bias")(gate))
  return t * nn.relu(y_BxHxWxC) + (1 - t) * zero_padded(branch, x_BxHxWxC)


def branch_start(structure: Structure, layer: int) -> nn.initializers.Initializer:
  """Returns how the kernel of a main branch's 1-based layer starts.

  He's way; with Fixup's shortcuts the last at zero, the others smaller by L^(1 / (2m - 2)): L blocks of m layers.
  """
  layers = structure.layers_a_block
  if structure.kind == "plain" or structure.shortcut != "fixup":
    return HE_NORMAL
  if layer == layers:
    return nn.initializers.zeros
  variance = 2.0 * sum(structure.blocks_a_stage) ** (-1 / (layers - 1))
  return nn.initializers.variance_scaling(variance, "fan_in", "normal")


def projected(branch: Branch, x_BxHxWxC: jax.Array) -> jax.Array:
  """A 1x1 projection (Eq. 2)."""
  x = branch.conv(branch.channels, 1, branch.stride, name="projection")(x_BxHxWxC)
  return branch.norm(name="projection_norm")(x) if branch.norm else x


def subsampled(x_BxHxWxC: jax.Array) -> jax.Array:
  """Every second pixel, from the first on: where a (1, 1)-padded convolution of stride 2 has its centres."""
  return x_BxHxWxC[:, ::2, ::2]


def averaged(x_BxHxWxC: jax.Array) -> jax.Array:
  """The mean of each 2x2 square; of what there is of it at an odd map's last row and column."""
  odd = [(0, side % 2) for side in x_BxHxWxC.shape[1:3]]
  return nn.avg_pool(x_BxHxWxC, (2, 2), strides=(2, 2), padding=odd, count_include_pad=False)


HALVED = {"subsample": subsampled, "average": averaged}

SHORTCUTS: dict[str, Callable[[Branch, jax.Array, jax.Array], jax.Array]] = {
  "A": option_a,
  "B": option_b,
  "C": option_c,
  "rezero": gain_from_zero,
  "skipinit": gain_from_zero,
  "fixup": fixup,
  "gated": gated,
}
