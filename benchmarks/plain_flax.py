"""The CIFAR networks in a straightforward Flax implementation: Flax's layers, without a scan over blocks."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class PlainResNet(nn.Module):
  """Residual CIFAR network of 6n+2 layers with option A."""

  depth: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, 3] to logits [B, 10], in training mode."""

    def conv(channels, stride, x):
      x = nn.Conv(channels, (3, 3), stride, padding=1, use_bias=False)(x)
      return nn.BatchNorm(use_running_average=False, momentum=0.9)(x)

    x = nn.relu(conv(16, 1, x))
    for width in (16, 32, 64):
      for i in range((self.depth - 2) // 6):
        stride = 2 if width > 16 and i == 0 else 1
        y = conv(width, 1, nn.relu(conv(width, stride, x)))
        if stride == 2:
          x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (0, width - x.shape[-1])))
        x = nn.relu(x + y)
    return nn.Dense(10)(x.mean((1, 2)))
