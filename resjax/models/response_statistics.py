"""Statistics of layer responses, mean and variance of each channel, which blocks sow for Fig. 7.

They are computed only where the collection `responses` is mutable. Only the forward programs that record responses
make it mutable, so the training step does not contain them.
"""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

COLLECTION = "responses"


def sow_response(module: nn.Module, name: str, y_BxHxWxC: jax.Array) -> None:
  """Sows the mean and the population variance of each channel over images and positions.

  They are computed for each device's part of the batch, so that the forward pass needs no communication. With one
  all-reduce per layer, none of which the next layer depends on, simulated devices on a loaded CPU can enter them in
  different orders and deadlock (jaxlib 0.10).

  Args:
    module: Module that sows, as variable `<name>_response`, float32 [P, 2, C] for P equal parts of the batch.
    name: Name of the layer within the module.
    y_BxHxWxC: Response of the layer.
  """
  if module.is_mutable_collection(COLLECTION):
    parts = math.gcd(len(y_BxHxWxC), max(jax.sharding.get_abstract_mesh().size, 1))
    y = y_BxHxWxC.astype(jnp.float32).reshape(parts, -1, y_BxHxWxC.shape[-1])
    mean = y.mean(1)
    moments = jnp.stack([mean, jnp.square(y - mean[:, None]).mean(1)], 1)
    module.sow(COLLECTION, f"{name}_response", moments, reduce_fn=lambda _, new: new, init_fn=lambda: ())
