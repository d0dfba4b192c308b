"""The shortcuts of Sec. 3.3 and 4.1, by name. Adding one is one function and one entry of `SHORTCUTS`.

A shortcut is a function of a block's `Branch` and the block's input; it returns what is added to the main branch.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn


@dataclasses.dataclass(frozen=True)
class Branch:
  """What a shortcut may need to know of its block.

  Attributes:
    channels: of the block's output.
    stride: of the block.
    a_stride, a_zeros: the variants of option A (`config.Model.option_a_stride`, `option_a_zeros`).
    conv: makes a convolution: conv(channels, kernel, stride, name=...).
    norm: makes a batch norm: norm(name=...); None in a pre-activation block, whose projection has none.
  """

  channels: int
  stride: int
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


def projected(branch: Branch, x_BxHxWxC: jax.Array) -> jax.Array:
  """Option C: a 1x1 projection in every block (Eq. 2)."""
  x = branch.conv(branch.channels, 1, branch.stride, name="projection")(x_BxHxWxC)
  return branch.norm(name="projection_norm")(x) if branch.norm else x


def projected_where_shapes_change(branch: Branch, x_BxHxWxC: jax.Array) -> jax.Array:
  """Option B: a 1x1 projection where shapes change, identity elsewhere."""
  return projected(branch, x_BxHxWxC) if branch.changes(x_BxHxWxC) else x_BxHxWxC


def subsampled(x_BxHxWxC: jax.Array) -> jax.Array:
  """Every second pixel, from the first on: where a (1, 1)-padded convolution of stride 2 has its centres."""
  return x_BxHxWxC[:, ::2, ::2]


def averaged(x_BxHxWxC: jax.Array) -> jax.Array:
  """The mean of each 2x2 square; of what there is of it at an odd map's last row and column."""
  odd = [(0, side % 2) for side in x_BxHxWxC.shape[1:3]]
  return nn.avg_pool(x_BxHxWxC, (2, 2), strides=(2, 2), padding=odd, count_include_pad=False)


HALVED = {"subsample": subsampled, "average": averaged}

SHORTCUTS: dict[str, Callable[[Branch, jax.Array], jax.Array]] = {
  "A": zero_padded,
  "B": projected_where_shapes_change,
  "C": projected,
}
