"""A network small enough for its dense Hessian, which is the reference for estimates of eigenvalues and traces.

Each function computes its result once per process.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from resjax import models
from resjax.config import Model
from resjax.data.augment import Statistics, normalize
from resjax.studies import loss_surface
from resjax.train.run_files import RestoredRun
from tests import random_networks

MODEL = Model(depth=8, blocks=(3,), width=2)  # 292 parameters; two of its three blocks are scanned


@functools.cache
def network() -> RestoredRun:
  """Returns the network with random weights."""
  return random_networks.restored_run(MODEL, 8)


@functools.cache
def examples() -> tuple[jax.Array, jax.Array, Statistics]:
  """Returns random images, uint8 [12, 8, 8, 1], their labels, int [12], and the statistics for normalization."""
  rng = np.random.default_rng(1)
  images, labels = rng.integers(0, 256, (12, 8, 8, 1), np.uint8), np.arange(12) % 10
  return jnp.asarray(images), jnp.asarray(labels), network().input.statistics


def surface() -> loss_surface.LossSurface:
  """Returns the loss surface of the network in batches of 8, of which the second has 4 images and is padded."""
  return loss_surface.LossSurface(models.build(MODEL, 10), 8, "running", network().variables, *examples())


@functools.cache
def hessian() -> np.ndarray:
  """Returns the Hessian of the mean loss of the unrolled network, float64 [292, 292].

  It is asserted to be symmetric to 1e-4 of its largest entry, which wrong second derivatives would violate.
  """
  unrolled = models.build(MODEL, 10, models.ScanOptions(1000))
  images, labels, statistics = examples()
  flat, unflatten = ravel_pytree(network().variables["params"])

  def loss(flat):
    variables = {**network().variables, "params": unflatten(flat)}
    logits = unrolled.apply(variables, normalize(images, statistics), train=False)
    return -jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels].mean()

  gradient = jax.grad(loss)
  rows = jax.jit(lambda flat: jax.lax.map(lambda v: jax.jvp(gradient, (flat,), (v,))[1], jnp.eye(len(flat))))
  result = np.asarray(rows(flat), np.float64)
  assert np.abs(result - result.T).max() < 1e-4 * np.abs(result).max()
  return (result + result.T) / 2
