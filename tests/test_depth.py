"""Layer tables: the counts of the paper, counts by hand, and consistency."""

import itertools

import pytest
from hypothesis import given, strategies as st

from resjax.config import Model
from resjax.depth import BOTTLENECK_EXPANSION, DepthError
from tests.depth_networks import CIFAR, blocks_per_stage, net, weighted

KINDS, BLOCKS, SHORTCUTS = ("residual", "plain"), ("basic", "bottleneck"), ("A", "B", "C")
LAYERS_PER_N = {"basic": 6, "bottleneck": 9}
WIDTHS = (16, 32, 64)
NETWORKS = st.builds(
  lambda n, block, image_shape, classes, **rest: Model(depth=LAYERS_PER_N[block] * n + 2, block=block, **rest).net(
    image_shape, classes
  ),
  n=st.integers(1, 12),
  kind=st.sampled_from(KINDS),
  block=st.sampled_from(BLOCKS),
  shortcut=st.sampled_from(SHORTCUTS),
  stem=st.sampled_from(["3x3", "7x7"]),
  bottleneck_stride=st.sampled_from(["1x1", "3x3"]),
  preactivation=st.booleans(),
  image_shape=st.sampled_from([CIFAR, (28, 28, 1), (9, 7, 3), (1, 1, 1)]),
  classes=st.integers(1, 100),
)


@pytest.mark.parametrize(
  ("depth", "params", "millions_of_macs"),
  [
    (20, 269_722, 40.55),
    (32, 464_154, 68.86),
    (44, 658_586, 97.17),
    (56, 853_018, 125.49),
    (110, 1_727_962, 252.89),
    (1202, 19_421_274, 2829.2),
  ],
)
def test_parameters_and_multiply_adds_are_those_of_the_paper(depth, params, millions_of_macs):
  """Parameters agree exactly, multiply-adds to five digits."""
  residual, plain = net(depth), net(depth, "plain")
  assert residual.params == plain.params == params
  assert residual.macs == plain.macs == pytest.approx(millions_of_macs * 1e6, rel=1.3e-4)
  assert residual.table == plain.table


def test_multiply_adds_of_resnet_20_by_hand():
  """A stage has six layers, of which the first has half of the input channels in stages 2 and 3."""
  stages = sum(
    9 * width * side**2 * (5.5 if width > 16 else 6) * width for width, side in ((16, 32), (32, 16), (64, 8))
  )
  assert net(20).macs == 9 * 3 * 16 * 32**2 + stages + 640


@pytest.mark.parametrize("depth", [8, 20, 56, 110, 1202])
def test_option_b_adds_the_same_number_of_parameters_at_every_depth(depth):
  assert net(depth, shortcut="B").params - net(depth).params == 2_752


@pytest.mark.parametrize(("depth", "params"), [(20, 283_962), (110, 1_826_202)])
def test_option_c_has_the_parameters_of_the_paper(depth, params):
  assert net(depth, shortcut="C").params == params


@pytest.mark.parametrize("depth", [20, 56])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_a_plain_network_does_not_depend_on_the_shortcut(depth, shortcut):
  assert net(depth, "plain", shortcut=shortcut).table == net(depth).table


def test_options_b_and_c_have_projections_in_their_blocks():
  def projections(**options):
    return [layer.name for layer in net(20, **options).table if layer.name.endswith("projection")]

  assert projections(shortcut="A") == []
  assert projections(shortcut="B") == ["stage2/block1/projection", "stage3/block1/projection"]
  every = [f"stage{s}/block{b}/projection" for s in (1, 2, 3) for b in (1, 2, 3)]
  assert projections(shortcut="C") == every
  # The first stage of bottleneck blocks widens 16 channels to 64.
  assert projections(shortcut="B", block="bottleneck") == [f"stage{s}/block1/projection" for s in (1, 2, 3)]


def test_parameters_of_a_bottleneck_network_by_hand():
  """Each of three stages has one block of 1x1, 3x3 and 1x1 convolutions, the last with four times the width."""
  inputs, params = 16, 27 * 16 + 2 * 16
  for width in (16, 32, 64):
    params += inputs * width + 9 * width**2 + 4 * width**2 + 2 * (width + width + 4 * width)
    inputs = 4 * width
  assert net(11, block="bottleneck").params == params + 256 * 10 + 10


def test_a_preactivation_block_has_norms_before_convolutions():
  names = [layer.name for layer in net(8, preactivation=True).table]
  assert names[:5] == ["stem/conv", *(f"stage1/block1/{name}" for name in ("norm1", "conv1", "norm2", "conv2"))]
  assert names[-2:] == ["head/norm", "head/dense"]
  # Norms have the channels of the inputs (16+16, 16+32, 32+64), and there is a norm of 64 channels at the end.
  norms = sum(layer.params for layer in net(8, preactivation=True).table if layer.kind == "norm")
  assert norms == 2 * (16 + 16 + 16 + 32 + 32 + 64 + 64)


@given(st.integers(1, 400), st.sampled_from(BLOCKS))
def test_depths_6n_2_and_9n_2_have_n_blocks_per_stage(n, block):
  assert blocks_per_stage(depth=LAYERS_PER_N[block] * n + 2, block=block) == (n, n, n)


@given(st.integers(-50, 3000), st.sampled_from(BLOCKS))
def test_the_error_of_another_depth_names_the_nearest_valid_ones(depth, block):
  period = LAYERS_PER_N[block]
  legal = range(period + 2, 4000, period)
  if depth in legal:
    return
  below, above = [d for d in legal if d < depth], [d for d in legal if d > depth]
  nearest = " and ".join(str(d) for d in [*below[-1:], above[0]])
  with pytest.raises(DepthError, match=rf"^not {period}n\+2, .*{block} blocks.*; nearest: {nearest}$"):
    blocks_per_stage(depth=depth, block=block)


@pytest.mark.parametrize(
  ("settings", "says"),
  [
    ({"depth": 20, "blocks": (3, 3)}, "blocks = (3, 3) of basic blocks make 14 layers"),
    (
      {"depth": 18, "block": "bottleneck", "blocks": (2, 2, 2, 2)},
      "blocks = (2, 2, 2, 2) of bottleneck blocks make 26",
    ),
    (
      {"family": "imagenet", "depth": 50},
      "must be the depth of a published network of the family 'imagenet': 18, 34 of basic blocks; ",
    ),
    (
      {"family": "imagenet", "depth": 34, "block": "bottleneck"},
      "must be the depth of a published network of the family 'imagenet': 18",
    ),
  ],
)
def test_errors_of_blocks_and_families_name_valid_depths(settings, says):
  with pytest.raises(DepthError) as caught:
    blocks_per_stage(**settings)
  assert str(caught.value).startswith(says)


@pytest.mark.parametrize(
  ("settings", "blocks"),
  [
    ({"depth": 14, "blocks": (3, 2, 1)}, (3, 2, 1)),
    ({"depth": 26, "blocks": (2, 2, 2, 2), "block": "bottleneck"}, (2, 2, 2, 2)),
    ({"family": "imagenet", "depth": 10, "blocks": (1, 1, 1, 1)}, (1, 1, 1, 1)),
    ({"family": "imagenet", "depth": 101, "block": "bottleneck"}, (3, 4, 23, 3)),
  ],
)
def test_blocks_per_stage(settings, blocks):
  assert blocks_per_stage(**settings) == blocks


@given(NETWORKS)
def test_depth_counts_the_weighted_layers(some):
  assert len(weighted(some)) == some.structure.depth
  assert [layer.kind for layer in weighted(some)] == ["conv"] * (some.structure.depth - 1) + ["dense"]


@given(NETWORKS)
def test_channels_sides_and_strides_of_layers_are_consistent(some):
  """Names are unique, and stages halve the sides, rounding up."""
  structure = some.structure
  layers, expansion = some.table, BOTTLENECK_EXPANSION if structure.block == "bottleneck" else 1
  assert len({layer.name for layer in layers}) == len(layers)
  chain = weighted(some)
  assert chain[0].inputs == some.image_shape[2]
  assert all(before.outputs == after.inputs for before, after in itertools.pairwise(chain))
  assert chain[-1].outputs == some.classes
  height, width = some.image_shape[:2]
  if structure.stem == "7x7":
    height, width = -(-height // 4), -(-width // 4)  # halving twice with rounding up is dividing by 4 with rounding up
  late = structure.block == "bottleneck" and structure.bottleneck_stride == "3x3"
  for stage, (filters, blocks) in enumerate(zip(WIDTHS, structure.blocks_per_stage, strict=True), 1):
    inside = [layer for layer in chain if layer.stage == stage]
    assert {layer.size for layer in inside[late:]} == {(height, width)}
    assert inside[-1].outputs == filters * expansion
    first = [1, 1] if stage == 1 else ([1, 2] if late else [2, 1])
    assert [layer.stride for layer in inside] == first + [1] * (len(inside) - 2)
    assert len(inside) == LAYERS_PER_N[structure.block] // 3 * blocks
    height, width = -(-height // 2), -(-width // 2)


@given(NETWORKS)
def test_each_convolution_has_a_norm_of_its_outputs_or_with_preactivation_of_its_inputs(some):
  layers = {layer.name: layer for layer in some.table}
  for name, conv in layers.items():
    if "/conv" in name and conv.stage:
      norm = layers[name.replace("conv", "norm")]
      assert norm.params == 2 * (conv.inputs if some.structure.preactivation else conv.outputs)
      assert norm.macs == 0
