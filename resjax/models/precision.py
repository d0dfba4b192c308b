"""Promotion to float32 for sums and statistics of activations in lower precision (`config.Model.precision`)."""

import jax
import jax.numpy as jnp


def at_least_float32(x: jax.Array) -> jax.Array:
  """Returns the array in float32, or in its own dtype if that is wider."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))
