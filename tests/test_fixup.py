"""Fixup against the structure of the authors' implementation (hongyi-zhang/Fixup, `cifar`)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from resjax import models
from resjax.config import Model, Train
from resjax.models import layout
from resjax.train import state, step

NET = Model(depth=8, blocks=(2, 1), width=4, shortcut="fixup", norm="none")
BLOCKS = [("stage1", "block1", 1), ("stage1", "block2", 1), ("stage2", "block1", 2)]
TRAIN = Train(steps=10, batch_size=6, learning_rate=0.1)
IMAGES, LABELS = jax.random.normal(jax.random.key(1), (6, 8, 8, 3)), jnp.arange(6)


def authors_names(blocks: list[int]) -> list[str]:
  """Returns the names of the authors' parameters, given the number of blocks of each stage."""
  names = ["conv1", "bias1"]
  for stage, count in enumerate(blocks, 1):
    for block in range(count):
      parts = ("bias1a", "conv1", "bias1b", "bias2a", "conv2", "scale", "bias2b")
      names += [f"layer{stage}.{block}.{part}" for part in parts]
  return [*names, "bias2", "fc.weight", "fc.bias"]


def authors_name(path: str) -> str:
  """Returns the authors' name of a parameter of resjax, given by its path."""
  fixed = {"stem/conv/kernel": "conv1", "stem/bias/value": "bias1", "head/bias/value": "bias2"}
  fixed |= {"head/dense/kernel": "fc.weight", "head/dense/bias": "fc.bias"}
  if path in fixed:
    return fixed[path]
  stage, block, part, _ = path.split("/")
  return f"layer{stage.removeprefix('stage')}.{int(block.removeprefix('block')) - 1}.{part}"


def forward(params, x):
  """Computes the authors' forward pass from parameters in the unstacked layout."""

  def conv(x, kernel, stride=1):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel["kernel"], (stride,) * 2, [(1, 1)] * 2, dimension_numbers=numbers)

  x = jax.nn.relu(conv(x, params["stem"]["conv"]) + params["stem"]["bias"]["value"])
  for stage, block, stride in BLOCKS:
    own = params[stage][block]
    shifted = x + own["bias1a"]["value"]
    y = jax.nn.relu(conv(shifted, own["conv1"], stride) + own["bias1b"]["value"])
    y = conv(y + own["bias2a"]["value"], own["conv2"]) * own["scale"]["value"] + own["bias2b"]["value"]
    if stride == 2:
      x = shifted[:, ::2, ::2]
      x = jnp.concatenate([x, jnp.zeros_like(x)], -1)
    x = jax.nn.relu(y + x)
  dense = params["head"]["dense"]
  return (x.mean((1, 2)) + params["head"]["bias"]["value"]) @ dense["kernel"] + dense["bias"]


@pytest.fixture(scope="module")
def start():
  return state.initial(NET, TRAIN, 10, (8, 8, 3), 0)


@pytest.fixture(scope="module")
def perturbed(start):
  """Returns a state with perturbed parameters, so that none is 0 or 1 and each has an effect."""
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.2, leaf.shape).astype(np.float32), start.params)
  return state.State(**{**vars(start), "params": params})


def test_parameters_are_those_of_the_authors():
  net, blocks = Model(depth=20, shortcut="fixup", norm="none"), [3, 3, 3]
  shapes = state.initial.eval_shape(net, TRAIN, 10, (32, 32, 3), 0).params
  flat = traverse_util.flatten_dict(jax.eval_shape(layout.unstacked, shapes), sep="/")
  names = {authors_name(path): leaf for path, leaf in flat.items()}
  assert sorted(names) == sorted(authors_names(blocks))
  convolutions = 9 * (3 * 16 + 6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
  total = convolutions + 64 * 10 + 10 + 2 + 9 * 5  # classifier, two biases outside of blocks, five scalars per block
  assert sum(leaf.size for leaf in names.values()) == total == net.net((32, 32, 3), 10).params


def test_initial_values_are_those_of_the_authors():
  """First layers have He's deviation by fan-out over sqrt(L); last layers, classifier and biases are 0, factors 1."""
  net = Model(depth=32, shortcut="fixup", norm="none")  # 15 blocks
  flat = traverse_util.flatten_dict(layout.unstacked(state.initial(net, TRAIN, 10, (32, 32, 3), 0).params), sep="/")
  for path, leaf in flat.items():
    name = authors_name(path).rpartition(".")[2]
    if name == "conv1" and path.startswith("stage"):
      deviation = np.sqrt(2 / (9 * leaf.shape[-1])) * 15**-0.5
      assert leaf.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * leaf.size)), path
    elif path != "stem/conv/kernel":
      np.testing.assert_array_equal(leaf, 1.0 if name == "scale" else 0.0)


def test_the_forward_pass_is_that_of_the_authors(perturbed):
  logits = models.build(NET, 10).apply({"params": perturbed.params}, IMAGES, train=False)
  np.testing.assert_allclose(logits, forward(layout.unstacked(perturbed.params), IMAGES), rtol=1e-4, atol=1e-5)


def test_biases_and_factors_have_a_tenth_of_the_learning_rate(perturbed):
  """The authors train biases, including that of the classifier, and factors at 0.01 and all else at 0.1."""
  after, *_ = jax.jit(step.train_step, static_argnums=(0, 1))(models.build(NET, 10), TRAIN, perturbed, IMAGES, LABELS)
  before = layout.unstacked(perturbed.params)

  def loss(params):
    return -jax.nn.log_softmax(forward(params, IMAGES))[jnp.arange(6), LABELS].mean()

  gradients = traverse_util.flatten_dict(jax.jit(jax.grad(loss))(before), sep="/")
  found = traverse_util.flatten_dict(layout.unstacked(after.params), sep="/")
  for path, old in traverse_util.flatten_dict(before, sep="/").items():
    name = authors_name(path)
    rate = 0.01 if "bias" in name or "scale" in name else 0.1
    update = -rate * (gradients[path] + 1e-4 * old)
    np.testing.assert_allclose(found[path] - old, update, rtol=1e-3, atol=1e-6)
    assert np.abs(update).max() > 1e-5, path
