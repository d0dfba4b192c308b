"""The whole Hessian of a small network, row by row, for tests of what estimates parts of it."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from resjax import models
from resjax.config import Model
from resjax.data.augment import normalize
from resjax.train.run_files import RestoredRun


def dense(model: Model, net: RestoredRun, images: jax.Array, labels: jax.Array) -> np.ndarray:
  """Returns the Hessian of the mean loss, float64 [parameters, parameters], of the unrolled network.

  It is symmetric to 1e-4 of its largest entry, which no wrong second derivative is.
  """
  unrolled = models.build(model, 10, models.ScanOptions(1000))
  flat, unflat = ravel_pytree(net.variables["params"])

  def loss(flat):
    variables = {**net.variables, "params": unflat(flat)}
    logits = unrolled.apply(variables, normalize(images, net.input.statistics), train=False)
    return -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels].mean()

  gradient = jax.grad(loss)
  rows = jax.jit(lambda flat: jax.lax.map(lambda v: jax.jvp(gradient, (flat,), (v,))[1], jnp.eye(len(flat))))
  found = np.asarray(rows(flat), np.float64)
  assert np.abs(found - found.T).max() < 1e-4 * np.abs(found).max()
  return (found + found.T) / 2
