"""Probes: what a layer's response looks like, as two small sums a channel that a block sows (Fig. 7).

A probe costs nothing unless the collection `responses` is mutable, which it is in the capture's own forward programs
only: the training step holds no trace of it.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

COLLECTION = "responses"


def sow_response(module: nn.Module, name: str, y_BxHxWxC: jax.Array) -> None:
  """Sows mean and variance (population) of each channel over images and positions as `<name>_response`, [P, 2, C].

  P is the number of equal parts of the batch, one a device: devices then have nothing to agree on while the net runs.
  With an all-reduce a layer, each independent of the next layer, simulated devices on a loaded CPU enter them in
  different orders and wait for each other for ever (jaxlib 0.10).
  """
  if module.is_mutable_collection(COLLECTION):
    parts = math.gcd(len(y_BxHxWxC), max(jax.sharding.get_abstract_mesh().size, 1))
    y = y_BxHxWxC.astype(jnp.float32).reshape(parts, -1, y_BxHxWxC.shape[-1])
    mean = y.mean(1)
    moments = jnp.stack([mean, jnp.square(y - mean[:, None]).mean(1)], 1)
    module.sow(COLLECTION, f"{name}_response", moments, reduce_fn=lambda _, new: new, init_fn=lambda: ())
