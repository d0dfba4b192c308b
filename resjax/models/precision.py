"""What is computed in float32 however narrow the activations are (`config.Model.precision`)."""

import jax
import jax.numpy as jnp


def at_least_float32(x: jax.Array) -> jax.Array:
  """Returns the array in float32, unless it is wider: sums over a batch need it."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))
