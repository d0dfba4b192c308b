"""One network of every structure, and variables of these networks, for tests of models."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from resjax import models
from resjax.config import Model, Train
from resjax.models import layout
from resjax.train.state import initial as initial_state

BATCH_SHAPE = (4, 16, 16, 3)  # images, height, width, channels
NETWORKS = {
  "residual A": Model(depth=14),
  "residual B": Model(depth=14, shortcut="B"),
  "residual C": Model(depth=14, shortcut="C"),
  "plain": Model(depth=14, kind="plain"),
  "one block per stage": Model(depth=8),
  "A, averaged, zeros on both sides": Model(depth=14, option_a_stride="average", option_a_zeros="both"),
  "SAME padding": Model(depth=14, padding="same"),
  "bottleneck A": Model(depth=20, block="bottleneck"),
  "bottleneck C": Model(depth=20, block="bottleneck", shortcut="C"),
  "pre-activation A": Model(depth=14, preactivation=True),
  "pre-activation B": Model(depth=14, preactivation=True, shortcut="B"),
  "pre-activation bottleneck, plain": Model(depth=20, block="bottleneck", kind="plain", preactivation=True),
  "scale from zero": Model(depth=14, zero_init_scale=True),
  "ImageNet, plain": Model("imagenet", "plain", 18, width=8),
  "ImageNet B": Model("imagenet", depth=18, width=8, shortcut="B"),
  "ImageNet bottleneck C, v1.5": Model(
    "imagenet", depth=29, blocks=(1, 3, 4, 1), block="bottleneck", width=8, shortcut="C", bottleneck_stride="3x3"
  ),
  "ImageNet bottleneck, pre-activation": Model(
    "imagenet", depth=26, blocks=(2, 2, 2, 2), block="bottleneck", width=8, shortcut="B", preactivation=True
  ),
  "ImageNet B, pooled as in Caffe": Model("imagenet", depth=18, width=8, shortcut="B", pool_padding="behind"),
  "ImageNet at 64 pixels": Model("imagenet", depth=18, width=8, stem="3x3"),
  "single layers": Model(depth=8, block="single", shortcut="B"),
  "single layers, pre-activation": Model(depth=8, block="single", preactivation=True),
  "fully connected": Model("mlp", depth=8, block="dense", width=12),
  "fully connected, pre-activation, without norms": Model(
    "mlp", depth=8, block="dense", width=12, preactivation=True, norm="none"
  ),
  "fully connected, layer norm": Model("mlp", "plain", 8, block="dense", width=12, norm="layer"),
  "VGG": Model("vgg", "plain", 16, block="single", width=4, norm="none"),
  "VGG with norms": Model("vgg", "plain", 19, block="single", width=4),
  "residual VGG": Model("vgg", depth=16, block="single", width=4, shortcut="C"),
  "Highway": Model(depth=14, blocks=(3, 4, 5), block="single", shortcut="gated", norm="none"),
  "gated": Model(depth=14, shortcut="gated"),
  "half": Model(depth=14, shortcut="half"),
  "dropout": Model(depth=14, shortcut="dropout"),
  "mean": Model(depth=14, shortcut="mean"),
  "shortcut gate": Model(depth=14, shortcut="gate"),
  "exclusive gate": Model(depth=14, shortcut="exclusive_gate", gate_bias=-1.0),
  "ReZero": Model(depth=14, shortcut="rezero"),
  "SkipInit": Model(depth=14, shortcut="skipinit", norm="none"),
  "SkipInit, pre-activation": Model(depth=14, shortcut="skipinit", norm="none", preactivation=True),
  "Fixup": Model(depth=14, shortcut="fixup", norm="none"),
  "Fixup bottleneck": Model(depth=20, block="bottleneck", shortcut="fixup", norm="none"),
  "plain without norms": Model(depth=14, kind="plain", norm="none"),
  "C without norms": Model(depth=14, shortcut="C", norm="none"),
  "CIFAR bottleneck v1.5, ImageNet stem": Model(
    depth=29, blocks=(3, 3, 3), block="bottleneck", stem="7x7", shortcut="B", bottleneck_stride="3x3"
  ),
}


@functools.cache
def variable_shapes(net: Model):
  """Returns the shapes of all variables in the stacked layout, without compiling a program."""
  build = models.build(net, 10)
  return jax.eval_shape(lambda: build.init(jax.random.key(0), jnp.zeros(BATCH_SHAPE), train=False))


def random_variables(net: Model):
  """Returns random variables in the stacked layout, with positive scales and variances."""
  rng = np.random.default_rng(0)

  def fill(path, leaf):
    if path[-1].key == "kernel":
      return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[-4:-1])), leaf.shape).astype(np.float32)
    return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)

  return jax.tree.map_with_path(fill, variable_shapes(net))


@functools.cache
def initial_variables(net: Model):
  """Returns the initial variables of a run with seed 0, in the stacked layout."""
  state = initial_state(net, Train(), 10, BATCH_SHAPE[1:], seed=0)
  return {"params": state.params, "batch_stats": state.batch_stats}


def unstacked(variables):
  """Returns variables in the layout with one subtree per block."""
  return {name: layout.unstacked(tree) for name, tree in variables.items()}


def layer_table(net: Model):
  """Returns the network's table of layers for images of these tests and ten classes."""
  return net.net(BATCH_SHAPE[1:], 10)
