"""Probes: what a layer's response looks like, as two small sums a channel that a block sows (Fig. 7).

A probe costs nothing unless the collection `responses` is mutable, which it is in the capture's own forward programs
only: the training step holds no trace of it.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

COLLECTION = "responses"


def response(module: nn.Module, name: str, y_BxHxWxC: jax.Array) -> None:
  """Sows mean and variance (population) of each channel over images and positions, [2, C], as `<name>_response`."""
  if module.is_mutable_collection(COLLECTION):
    y = y_BxHxWxC.astype(jnp.float32)
    mean = y.mean((0, 1, 2))
    moments = jnp.stack([mean, jnp.square(y - mean).mean((0, 1, 2))])
    module.sow(COLLECTION, f"{name}_response", moments, reduce_fn=lambda _, new: new, init_fn=lambda: ())
