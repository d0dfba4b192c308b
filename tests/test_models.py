"""The built nets against the layer table, and the two layouts against each other."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn, traverse_util

from resjax import models
from resjax.config import Model, Train
from resjax.models import blocks, layout, resnet, shortcuts, stack
from resjax.models.probes import COLLECTION
from resjax.train.state import initial as initial_state

IMAGES = (4, 16, 16, 3)
NETS = {
  "residual A": Model(depth=14),
  "residual B": Model(depth=14, shortcut="B"),
  "residual C": Model(depth=14, shortcut="C"),
  "plain": Model(depth=14, kind="plain"),
  "one block a stage": Model(depth=8),
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
  "VGG": Model("vgg", "plain", 16, block="single", width=4, norm="none"),
  "VGG with norms": Model("vgg", "plain", 19, block="single", width=4),
  "residual VGG": Model("vgg", depth=16, block="single", width=4, shortcut="C"),
  "Highway": Model(depth=14, blocks=(3, 4, 5), block="single", shortcut="gated", norm="none"),
  "gated": Model(depth=14, shortcut="gated"),
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
def shapes(net: Model):
  """Returns the shapes of all variables, stacked; nothing is compiled."""
  build = models.build(net, 10)
  return jax.eval_shape(lambda: build.init(jax.random.key(0), jnp.zeros(IMAGES), train=False))


def filled(net: Model):
  """Returns variables with random numbers everywhere, scales and variances positive."""
  rng = np.random.default_rng(0)

  def fill(path, leaf):
    if path[-1].key == "kernel":
      return rng.normal(0, np.sqrt(2 / np.prod(leaf.shape[-4:-1])), leaf.shape).astype(np.float32)
    return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)

  return jax.tree.map_with_path(fill, shapes(net))


@functools.cache
def initial(net: Model):
  """Returns the variables as a run starts with them, stacked."""
  state = initial_state(net, Train(), 10, IMAGES[1:], seed=0)
  return {"params": state.params, "batch_stats": state.batch_stats}


def unstacked(variables):
  return {name: layout.unstacked(tree) for name, tree in variables.items()}


def table(net: Model):
  return net.net(IMAGES[1:], 10)


@pytest.mark.parametrize("name", NETS)
def test_every_array_of_the_built_net_is_in_the_layer_table(name):
  net = NETS[name]
  built = traverse_util.flatten_dict(jax.eval_shape(unstacked, shapes(net))["params"], sep="/")
  expected = {}
  for layer in table(net).table:
    if layer.kind == "pool":
      continue
    if layer.kind == "norm":
      expected |= {f"{layer.name}/{part}": (layer.outputs,) for part in ("scale", "bias")}
    elif layer.kind == "bias":
      expected[f"{layer.name}/bias"] = (layer.outputs,)
    elif layer.kind == "scalar":
      expected[f"{layer.name}/value"] = ()
    elif layer.kind == "dense":
      expected |= {f"{layer.name}/kernel": (layer.inputs, layer.outputs), f"{layer.name}/bias": (layer.outputs,)}
    else:
      expected[f"{layer.name}/kernel"] = (layer.kernel, layer.kernel, layer.inputs, layer.outputs)
  assert {path: leaf.shape for path, leaf in built.items()} == expected
  assert sum(leaf.size for leaf in built.values()) == table(net).params


@pytest.mark.parametrize("name", NETS)
def test_every_map_has_the_side_the_layer_table_says(name):
  net = NETS[name]
  build = models.build(net, 10)

  def forward(variables):
    return build.apply(variables, jnp.zeros(IMAGES), train=False, mutable=["intermediates"], capture_intermediates=True)

  _, kept = jax.eval_shape(forward, shapes(net))
  outputs = traverse_util.flatten_dict(kept["intermediates"], sep="/")
  for layer in table(net).table:
    if layer.block > 1:  # in a loop, whose blocks all have the shape of the first one's output
      continue
    if layer.kind in ("pool", "scalar"):  # of a pooling, which is no module of its own, the next layer's map tells
      continue
    (output,) = outputs[f"{layer.name}/__call__"]
    assert output.shape == (
      (IMAGES[0], *layer.side, layer.outputs) if layer.kind != "dense" else (IMAGES[0], layer.outputs)
    )


@pytest.mark.parametrize(("depth", "params"), [(20, 269_722), (110, 1_727_962), (1202, 19_421_274)])
def test_built_parameters_are_the_papers(depth, params):
  assert sum(leaf.size for leaf in jax.tree.leaves(shapes(Model(depth=depth))["params"])) == params


def one_by_one(net: Model, variables, images):
  """The net as a loop over its blocks in Python, with their parameters apart: logits and new statistics."""
  apart, new = unstacked(variables), {}

  def run(module, x, *path):
    own = {name: functools.reduce(lambda tree, key: tree[key], path, tree) for name, tree in apart.items()}
    x, updates = module.apply(own, x, train=True, mutable=["batch_stats"])
    new.update({(*path, *leaf): value for leaf, value in traverse_util.flatten_dict(updates["batch_stats"]).items()})
    return x

  x = run(resnet.Stem(16, net), images, "stem")
  for i, filters in enumerate((16, 32, 64), 1):
    for block in range(1, len(apart["params"][f"stage{i}"]) + 1):
      x = run(blocks.Block(filters, 2 if i > 1 and block == 1 else 1, net), x, f"stage{i}", f"block{block}")
  return resnet.Head(10, net).apply({name: tree.get("head", {}) for name, tree in apart.items()}, x, True), new


LOOPS = {"one by one in Python": None} | {
  f"unroll {unroll}, remat {remat}": models.Loop(unroll, remat)
  for unroll, remat in [
    (2, "none"),
    (3, "none"),
    (1000, "none"),
    (1, "block"),
    (1000, "block"),
    (1, "group"),
    (2, "group"),
  ]
}


@functools.cache
def gradients_of(net: Model, loop: models.Loop | None):
  """Logits, statistics after, and gradients, in the stacked layout."""
  variables = filled(net)
  images = jax.random.normal(jax.random.key(1), IMAGES)

  def loss(params):
    collections = {"params": params, "batch_stats": variables["batch_stats"]}
    if loop is None:
      logits, updates = one_by_one(net, collections, images)
    else:
      logits, updates = models.build(net, 10, loop).apply(collections, images, train=True, mutable=["batch_stats"])
      updates = traverse_util.flatten_dict(unstacked(updates)["batch_stats"])
    return jax.nn.logsumexp(logits), (logits, updates)

  (_, (logits, updates)), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
  return {"logits": logits, "gradients": gradients, "statistics": updates}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("net", [Model(depth=32, shortcut="B"), Model(depth=20, block="bottleneck")], ids=str)
def test_numbers_do_not_depend_on_how_the_loop_is_executed(net, loop):
  """Logits, gradients and statistics from the same parameters, within rounding.

  Of 32 layers a stage has four blocks in the loop: two groups of two. Of 20 bottleneck ones it has one.
  """
  one, other = gradients_of(net, models.Loop()), gradients_of(net, LOOPS[loop])

  def close(one, other):
    # The same operations in two programs: some thousand float32 roundings of the largest value.
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * max(np.abs(other).max(), 1e-3))

  jax.tree.map(close, one, other)


def test_groups_that_do_not_divide_the_blocks():
  """Eleven blocks: three groups of three and one of two."""
  rng = np.random.default_rng(0)
  matrices, x = rng.normal(0, 0.5, (11, 4, 4)), rng.normal(size=4)

  def run(matrices, loop):
    y, sums = stack.apply(lambda x, matrix: (jnp.tanh(matrix @ x), x.sum()), x, matrices, loop)
    return y.sum(), (y, sums)

  (_, expected), slope = jax.value_and_grad(run, has_aux=True)(matrices, stack.Loop())
  (_, found), group_slope = jax.value_and_grad(run, has_aux=True)(matrices, stack.Loop(1, "group"))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), (found, group_slope), (expected, slope))
  assert found[1].shape == (11,)


@pytest.mark.parametrize("remat", ["none", "block", "group"])
def test_what_is_kept_for_the_backward_pass(remat):
  """In bytes of block outputs, of 64 blocks: everything; the inputs of all; of 8 groups and of the 8 blocks in one."""
  side = 1024

  def block(x, scale):
    return jnp.tanh(jnp.sin(scale * x)), None  # keeps two arrays

  def slope(x, scales):
    return jax.grad(lambda scales: stack.apply(block, x, scales, stack.Loop(1, remat))[0].sum())(scales)

  compiled = jax.jit(slope).lower(jnp.ones(side), jnp.ones(64)).compile()
  arrays = compiled.memory_analysis().temp_size_in_bytes / (4 * side)
  assert {"none": 128, "block": 64, "group": 16}[remat] <= arrays <= {"none": 270, "block": 80, "group": 45}[remat]


def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32():
  """And is near the float32 net: to a few units of its 8 bits, summed over 14 layers."""
  net = Model(depth=14, precision="bfloat16")
  variables = filled(net)
  images = jax.random.normal(jax.random.key(1), IMAGES)
  logits, updates = models.build(net, 10).apply(variables, images, train=True, mutable=["batch_stats", COLLECTION])
  exact, _ = models.build(Model(depth=14), 10).apply(variables, images, train=True, mutable=["batch_stats", COLLECTION])
  assert {leaf.dtype for leaf in jax.tree.leaves((variables, logits, updates))} == {np.dtype("float32")}
  assert 0 < float(jnp.abs(logits - exact).max()) < 0.1 * float(jnp.abs(exact).max())


def test_bfloat16_activations_are_bfloat16():
  net = models.build(Model(depth=14, precision="bfloat16"), 10)
  _, kept = net.apply(filled(net.net), jnp.zeros(IMAGES), train=False, capture_intermediates=True)
  outputs = traverse_util.flatten_dict(kept["intermediates"], sep="/")
  inner = {path: str(value.dtype) for path, (value,) in outputs.items() if path.startswith(("stem", "stage"))}
  assert len(inner) > 20 and set(inner.values()) == {"bfloat16"}, inner


def test_layouts_convert_without_loss():
  params = filled(NETS["residual C"])["params"]
  back = layout.stacked(layout.unstacked(params))
  assert jax.tree.structure(back) == jax.tree.structure(params)
  assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), back, params))


def test_digest_is_that_of_values_and_order_not_of_layout():
  params = filled(NETS["residual A"])["params"]
  apart = layout.unstacked(params)
  assert layout.digest(params) == layout.digest(apart)
  one_bit = jax.tree.map(np.array, apart)
  kernel = one_bit["stage2"]["block2"]["conv1"]["kernel"]
  kernel.view(np.uint32)[0, 0, 0, 0] ^= 1
  assert layout.digest(one_bit) != layout.digest(apart)


def test_blocks_of_a_stage_start_differently():
  kernels = initial(Model(depth=20))["params"]["stage1"]["rest"]["conv1"]["kernel"]
  assert not np.allclose(kernels[0], kernels[1])


def test_he_initialisation():
  """Deviation sqrt(2 / fan_in), He et al. 2015 (the paper's [13]), which n weights give to one part in sqrt(2n)."""
  params = layout.unstacked(initial(Model(depth=20))["params"])
  for path, kernel in traverse_util.flatten_dict(params).items():
    if path[-1] == "kernel" and kernel.size > 1000:
      expected = np.sqrt(2 / np.prod(kernel.shape[:-1]))
      assert kernel.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * kernel.size)), path


def branch(**changes):
  return dataclasses.replace(shortcuts.Branch(8, 2, 3, "subsample", "end", lambda *_, **__: None, None), **changes)


def test_option_a_subsamples_and_appends_zeros():
  x = np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)
  y = np.asarray(shortcuts.zero_padded(branch(), x))
  assert y.shape == (2, 3, 2, 8)
  np.testing.assert_array_equal(y[..., :3], x[:, ::2, ::2])
  assert not y[..., 3:].any()


def test_option_a_zeros_on_both_sides():
  x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)
  y = np.asarray(shortcuts.zero_padded(branch(a_zeros="both"), x))
  np.testing.assert_array_equal(y[..., 2:5], x[:, ::2, ::2])  # of five new channels two stand before
  assert not y[..., :2].any() and not y[..., 5:].any()


def test_option_a_averages_what_there_is_of_a_square():
  x = np.arange(2 * 3 * 3 * 1, dtype=np.float32).reshape(2, 3, 3, 1)
  y = np.asarray(shortcuts.zero_padded(branch(a_stride="average"), x))
  for row in range(2):
    for column in range(2):
      square = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2, 0]
      np.testing.assert_allclose(y[:, row, column, 0], square.mean((1, 2)), rtol=1e-6)


def test_option_a_is_the_identity_where_shapes_do_not_change():
  x = jnp.ones((2, 4, 4, 8))
  assert shortcuts.zero_padded(branch(stride=1), x) is x


def test_stride_two_is_centred_where_option_a_subsamples():
  """With symmetric padding an identity kernel of stride 2 is subsampling; SAME padding is one pixel off."""
  x = jax.random.normal(jax.random.key(0), (1, 8, 8, 1))
  kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
  outputs = {
    padding: models.conv.Conv(1, stride=2, padding=padding).apply({"params": {"kernel": kernel}}, x)
    for padding in ("symmetric", "same")
  }
  np.testing.assert_array_equal(outputs["symmetric"], shortcuts.subsampled(x))
  np.testing.assert_array_equal(outputs["same"], x[:, 1::2, 1::2])


def test_a_residual_net_with_zero_branches_starts_as_identity():
  """With zero_init_scale a block adds nothing at first: responses of second layers are zero."""
  variables = initial(NETS["scale from zero"])
  images = jax.random.normal(jax.random.key(1), IMAGES)
  build = models.build(NETS["scale from zero"], 10)
  _, sown = build.apply(variables, images, train=True, mutable=[COLLECTION, "batch_stats"])
  for path, moments in traverse_util.flatten_dict(sown[COLLECTION]).items():
    assert np.asarray(moments).any() != (path[-1] in ("conv2_response", "branch_response")), path


def test_the_shortcuts_are_those_of_the_settings():
  (allowed,) = (field.metadata["allowed"] for field in dataclasses.fields(Model) if field.name == "shortcut")
  assert tuple(shortcuts.SHORTCUTS) == allowed


def block_output(net: Model, channels: int = 16, **values):
  """Returns the input of a block of stride 1 and its output; `values` are put in the place of its first ones."""
  block = blocks.Block(16, 1, net)
  x = nn.relu(jax.random.normal(jax.random.key(0), (2, 6, 6, channels)))
  variables = block.init(jax.random.key(1), x, False)
  flat = traverse_util.flatten_dict(variables["params"], sep="/")
  replaced = {path: jnp.full_like(flat[path], value) for path, value in values.items()}
  params = traverse_util.unflatten_dict(flat | replaced, sep="/")
  return np.asarray(x), np.asarray(block.apply({**variables, "params": params}, x, False))


@pytest.mark.parametrize("name", ["ReZero", "SkipInit", "Fixup", "Fixup bottleneck"])
def test_zero_initialised_blocks_start_as_the_identity(name):
  net = NETS[name]
  x, y = block_output(net, 16 * (4 if net.block == "bottleneck" else 1))
  np.testing.assert_array_equal(x, y)


def test_a_gain_scales_the_branch():
  """relu(x + gain F(x)): what the gain adds to an input is linear in it where the ReLU is open."""
  net = NETS["ReZero"]
  (x, once), (_, twice) = block_output(net, **{"gain/value": 1}), block_output(net, **{"gain/value": 2})
  is_open = (once > 0) & (twice > 0)
  np.testing.assert_allclose((twice - x)[is_open], 2 * (once - x)[is_open], rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(once, block_output(Model(depth=14))[1], rtol=1e-5, atol=1e-5)


def test_a_highway_block_carries_its_input_when_the_gate_is_closed_and_is_plain_when_it_is_open():
  net, plain = NETS["Highway"], dataclasses.replace(NETS["Highway"], kind="plain")
  x, closed = block_output(net, **{"gate_bias/bias": -40})
  np.testing.assert_allclose(closed, x, rtol=1e-6, atol=1e-15)  # a sigmoid of some -40 is 1e-17
  _, wide_open = block_output(net, **{"gate_bias/bias": 40})
  np.testing.assert_allclose(wide_open, block_output(plain)[1], rtol=1e-5, atol=1e-6)


def test_fixup_starts_the_other_layers_smaller():
  """Six blocks of two layers: the first by sqrt(6), of bottlenecks of three layers by the fourth root; n as in He's."""
  for name, factor in (("Fixup", 6**-0.5), ("Fixup bottleneck", 6**-0.25)):
    kernel = initial(NETS[name])["params"]["stage3"]["rest"]["conv1"]["kernel"]
    expected = factor * np.sqrt(2 / np.prod(kernel.shape[-4:-1]))
    assert kernel.std() == pytest.approx(expected, rel=5 / np.sqrt(2 * kernel.size))


def test_a_fully_connected_block_by_hand():
  """y = relu(W2 relu(W1 x + b1) + b2 + x), the equation of Sec. 3.2 for fully connected layers."""
  net = Model("mlp", depth=4, block="dense", width=5, norm="none")
  build = models.build(net, 3)
  images = jax.random.normal(jax.random.key(0), (2, 4, 3, 2))
  variables = jax.tree.map(
    lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), build.init(jax.random.key(1), images, False)
  )
  params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
  block = params["stage1"]["block1"]

  def layer(x, where, i):
    return x @ where[f"conv{i}"]["kernel"][0, 0] + where[f"norm{i}"]["bias"]

  relu = lambda x: np.maximum(x, 0)  # noqa: E731
  flat = np.asarray(images, np.float64).reshape(2, -1)
  x = relu(flat @ params["stem"]["conv"]["kernel"][0, 0] + params["stem"]["norm"]["bias"])
  x = relu(layer(relu(layer(x, block, 1)), block, 2) + x)
  logits = x @ params["head"]["dense"]["kernel"] + params["head"]["dense"]["bias"]
  np.testing.assert_allclose(build.apply(variables, images, True), logits, rtol=1e-4)  # float32


def test_plain_and_residual_have_the_same_parameters():
  assert jax.tree.all(jax.tree.map(lambda a, b: a.shape == b.shape, shapes(NETS["plain"]), shapes(NETS["residual A"])))


def test_a_block_sows_what_it_adds_and_what_it_adds_to():
  """A pre-activation block's output is their sum, whose mean is that of the parts."""
  x = jax.random.normal(jax.random.key(0), (3, 8, 8, 4)) * 2 + 1
  block = blocks.Block(4, 1, Model(depth=8, width=4, preactivation=True))
  variables = block.init(jax.random.key(1), x, train=False)
  y, updated = block.apply(variables, x, train=False, mutable=[COLLECTION])
  sown = updated[COLLECTION]
  for name, part in (("input", x), ("branch", y - x)):
    expected = np.stack([np.mean(part, (0, 1, 2)), np.var(part, (0, 1, 2))])
    # float32 sums of some hundred terms, in another order.
    np.testing.assert_allclose(sown[f"{name}_response"][0], expected, rtol=1e-4, atol=1e-5)
