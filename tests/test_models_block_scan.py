"""The scan over the blocks of a stage: results and memory with unrolling and rematerialization."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from resjax import models
from resjax.config import Model
from resjax.models import blocks, resnet
from resjax.models.block_scan import ScanOptions, scan_blocks
from tests.sample_networks import BATCH_SHAPE, random_variables, unstacked


def python_loop(net: Model, variables, images):
  """Evaluates the network in training mode by a Python loop over blocks; returns logits and updated statistics."""
  by_block, updated = unstacked(variables), {}

  def run(module, x, *path):
    own = {name: functools.reduce(lambda tree, key: tree[key], path, tree) for name, tree in by_block.items()}
    x, updates = module.apply(own, x, train=True, mutable=["batch_stats"])
    updated.update(
      {(*path, *leaf): value for leaf, value in traverse_util.flatten_dict(updates["batch_stats"]).items()}
    )
    return x

  x = run(resnet.Stem(16, net), images, "stem")
  for i, filters in enumerate((16, 32, 64), 1):
    for block in range(1, len(by_block["params"][f"stage{i}"]) + 1):
      x = run(blocks.Block(filters, 2 if i > 1 and block == 1 else 1, net), x, f"stage{i}", f"block{block}")
  return resnet.Head(10, net).apply({name: tree.get("head", {}) for name, tree in by_block.items()}, x, True), updated


SCANS = {"Python loop": None} | {
  f"unroll {unroll}, remat {remat}": ScanOptions(unroll, remat)
  for unroll, remat in [
    (2, "none"),
    (3, "none"),
    (1000, "none"),
    (1, "elementwise"),
    (1000, "elementwise"),
    (1, "block"),
    (1000, "block"),
    (1, "group"),
    (2, "group"),
  ]
}


@functools.cache
def gradients_of(net: Model, scan: ScanOptions | None):
  """Returns logits, updated statistics and gradients of one training pass; None for `scan` is the Python loop."""
  variables = random_variables(net)
  images = jax.random.normal(jax.random.key(1), BATCH_SHAPE)

  def loss(params):
    collections = {"params": params, "batch_stats": variables["batch_stats"]}
    if scan is None:
      logits, updates = python_loop(net, collections, images)
    else:
      logits, updates = models.build(net, 10, scan).apply(collections, images, train=True, mutable=["batch_stats"])
      updates = traverse_util.flatten_dict(unstacked(updates)["batch_stats"])
    return jax.nn.logsumexp(logits), (logits, updates)

  (_, (logits, updates)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
  return {"logits": logits, "gradients": gradients, "statistics": updates}


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("net", [Model(depth=32, shortcut="B"), Model(depth=20, block="bottleneck")], ids=str)
def test_results_do_not_depend_on_the_execution_of_the_scan(net, scan):
  """Logits, gradients and statistics agree to rounding.

  With 32 layers the scan of a stage has four blocks, which are two groups of two; with 20 bottleneck layers it has one.
  """
  one, other = gradients_of(net, ScanOptions()), gradients_of(net, SCANS[scan])

  def close(one, other):
    # The same operations in two programs differ by about a thousand float32 roundings of the largest value.
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * max(np.abs(other).max(), 1e-3))

  jax.tree.map(close, one, other)


def test_the_size_of_a_group_need_not_divide_the_number_of_blocks():
  """Eleven blocks are three groups of three and one of two."""
  rng = np.random.default_rng(0)
  matrices, x = rng.normal(0, 0.5, (11, 4, 4)), rng.normal(size=4)

  def run(matrices, scan):
    y, sums = scan_blocks(lambda x, matrix: (jnp.tanh(matrix @ x), x.sum()), x, matrices, scan)
    return y.sum(), (y, sums)

  (_, expected), slope = jax.value_and_grad(run, has_aux=True)(matrices, ScanOptions())
  (_, found), group_slope = jax.value_and_grad(run, has_aux=True)(matrices, ScanOptions(1, "group"))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), (found, group_slope), (expected, slope))
  assert found[1].shape == (11,)


@pytest.mark.parametrize("remat", ["none", "block", "group"])
def test_rematerialization_stores_fewer_activations_for_the_backward_pass(remat):
  """Of 64 blocks, `none` stores all intermediate values, `block` the inputs of all blocks, and `group` the inputs of 8
  groups and of the 8 blocks of one group. Sizes are in block outputs."""
  side = 1024

  def block(x, scale):
    return jnp.tanh(jnp.sin(scale * x)), None  # two intermediate arrays

  def slope(x, scales):
    return jax.grad(lambda scales: scan_blocks(block, x, scales, ScanOptions(1, remat))[0].sum())(scales)

  compiled = jax.jit(slope).lower(jnp.ones(side), jnp.ones(64)).compile()
  arrays = compiled.memory_analysis().temp_size_in_bytes / (4 * side)
  assert {"none": 128, "block": 64, "group": 16}[remat] <= arrays <= {"none": 270, "block": 80, "group": 45}[remat]
