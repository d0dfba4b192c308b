"""Layer tables against the paper's counts, against arithmetic by hand, and against themselves."""

import dataclasses
import itertools

import pytest
from hypothesis import given, strategies as st

from resjax import paper
from resjax.config import Model
from resjax.depth import BOTTLENECK_EXPANSION, DepthError, Layer, Net

CIFAR = (32, 32, 3)
KINDS, BLOCKS, SHORTCUTS = ("residual", "plain"), ("basic", "bottleneck"), ("A", "B", "C")
PERIODS = {"basic": 6, "bottleneck": 9}
WIDTHS = (16, 32, 64)
NETS = st.builds(
  lambda n, block, image_shape, classes, **rest: Model(depth=PERIODS[block] * n + 2, block=block, **rest).net(
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


def net(depth: int, kind: str = "residual", **settings) -> Net:
  """A CIFAR-10 net."""
  return Model(depth=depth, kind=kind, **settings).net(CIFAR, 10)


def imagenet(depth: int, **settings) -> Net:
  """An ImageNet net with the shortcuts of Table 1's parameters, option B."""
  block = "basic" if depth < 50 else "bottleneck"
  return Model(family="imagenet", depth=depth, block=block, **{"shortcut": "B"} | settings).net((224, 224, 3), 1000)


def blocks_per_stage(**settings) -> tuple[int, ...]:
  """The blocks of a CIFAR net; DepthError as it is, where `Model` makes a ConfigError of it."""
  return dataclasses.replace(Model().structure, **settings).blocks_per_stage


def weighted(some: Net) -> list[Layer]:
  return [layer for layer in some.table if layer.weighted]


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
def test_params_and_macs_are_those_of_the_paper(depth, params, millions_of_macs):
  """Parameters are exact; multiply-adds are known to five digits."""
  residual, plain = net(depth), net(depth, "plain")
  assert residual.params == plain.params == params
  assert residual.macs == plain.macs == pytest.approx(millions_of_macs * 1e6, rel=1.3e-4)
  assert residual.table == plain.table


def test_macs_by_hand():
  """Depth 20: the first layer, six a stage of which the first of stages 2 and 3 has half the inputs, the last layer."""
  stages = sum(
    9 * width * side**2 * (5.5 if width > 16 else 6) * width for width, side in ((16, 32), (32, 16), (64, 8))
  )
  assert net(20).macs == 9 * 3 * 16 * 32**2 + stages + 640


@pytest.mark.parametrize("depth", [8, 20, 56, 110, 1202])
def test_option_b_adds_the_same_at_every_depth(depth):
  assert net(depth, shortcut="B").params - net(depth).params == 2_752


@pytest.mark.parametrize(("depth", "params"), [(20, 283_962), (110, 1_826_202)])
def test_option_c_has_the_parameters_of_the_paper(depth, params):
  assert net(depth, shortcut="C").params == params


@pytest.mark.parametrize("depth", [20, 56])
@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_a_plain_net_is_the_same_whatever_its_shortcut(depth, shortcut):
  assert net(depth, "plain", shortcut=shortcut).table == net(depth).table


def test_projections_are_where_the_options_say():
  def projections(**options):
    return [layer.name for layer in net(20, **options).table if layer.name.endswith("projection")]

  assert projections(shortcut="A") == []
  assert projections(shortcut="B") == ["stage2/block1/projection", "stage3/block1/projection"]
  every = [f"stage{s}/block{b}/projection" for s in (1, 2, 3) for b in (1, 2, 3)]
  assert projections(shortcut="C") == every
  # A bottleneck block widens its first stage, too: 16 channels in, 64 out.
  assert projections(shortcut="B", block="bottleneck") == [f"stage{s}/block1/projection" for s in (1, 2, 3)]


def test_a_bottleneck_net_by_hand():
  """n = 1: per stage 1x1, 3x3, 1x1 of the width, the width and four times the width, each with a norm."""
  inputs, params = 16, 27 * 16 + 2 * 16
  for width in (16, 32, 64):
    params += inputs * width + 9 * width**2 + 4 * width**2 + 2 * (width + width + 4 * width)
    inputs = 4 * width
  assert net(11, block="bottleneck").params == params + 256 * 10 + 10


def test_a_preactivation_block_norms_before_it_convolves():
  names = [layer.name for layer in net(8, preactivation=True).table]
  assert names[:5] == ["stem/conv", *(f"stage1/block1/{name}" for name in ("norm1", "conv1", "norm2", "conv2"))]
  assert names[-2:] == ["head/norm", "head/dense"]
  # Against the block of the paper: norms of the inputs, 16+16, 16+32, 32+64 channels, and one of 64 at the end.
  norms = sum(layer.params for layer in net(8, preactivation=True).table if layer.kind == "norm")
  assert norms == 2 * (16 + 16 + 16 + 32 + 32 + 64 + 64)


@given(st.integers(1, 400), st.sampled_from(BLOCKS))
def test_legal_depths_are_6n_2_and_9n_2(n, block):
  assert blocks_per_stage(depth=PERIODS[block] * n + 2, block=block) == (n, n, n)


@given(st.integers(-50, 3000), st.sampled_from(BLOCKS))
def test_an_illegal_depth_names_its_legal_neighbours(depth, block):
  period = PERIODS[block]
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
def test_what_another_depth_would_be_is_said(settings, says):
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


@pytest.mark.parametrize(
  ("depth", "params", "v1", "v15"),
  [
    (18, 11_689_512, 1.814, 1.814),
    (34, 21_797_672, 3.664, 3.664),
    (50, 25_557_032, 3.858, 4.089),
    (101, 44_549_160, 7.570, 7.801),
    (152, 60_192_808, 11.282, 11.514),
  ],
)
def test_imagenet_nets_are_those_of_the_paper(depth, params, v1, v15):
  """Parameters exactly, 10^9 multiply-adds to four digits, and the paper's own figures, unevenly rounded, to 3 %."""
  first, later = imagenet(depth), imagenet(depth, bottleneck_stride="3x3")
  assert first.params == later.params == paper.IMAGENET[depth].params == params
  assert (round(first.macs / 1e9, 3), round(later.macs / 1e9, 3)) == (v1, v15)
  assert first.macs == pytest.approx(paper.IMAGENET[depth].macs, rel=0.03)
  assert first.structure.blocks_per_stage == paper.IMAGENET[depth].blocks


def test_plain_and_option_a_nets_have_no_projections():
  assert imagenet(18, kind="plain").params == imagenet(18, shortcut="A").params == 11_515_688


def test_a_bottleneck_costs_a_seventeenth_of_the_basic_block_it_replaces():
  """Two 3x3 layers of 256 channels against 1x1, 3x3, 1x1 of 64, 64 and 256 (Fig. 5)."""

  def weights(some: Net) -> int:
    inside = [layer for layer in some.table if (layer.stage, layer.block) == (1, 2)]
    return sum(layer.params for layer in inside if layer.kind == "conv")

  wide = Model(family="imagenet", depth=34, width=256).net((224, 224, 3), 1000)
  assert (weights(wide), weights(imagenet(50))) == (1_179_648, 69_632)


@pytest.mark.parametrize(("depth", "params", "macs"), [(16, 138_357_544, 15.3e9), (19, 143_667_240, 19.6e9)])
def test_vgg_nets_are_those_the_paper_compares_with(depth, params, macs):
  """Parameters as published by others, exactly; the paper's multiply-adds to 3 %."""
  vgg = Model("vgg", "plain", depth, block="single", norm="none").net((224, 224, 3), 1000)
  assert vgg.params == params
  assert vgg.macs == pytest.approx(macs, rel=0.03)
  assert len(weighted(vgg)) == depth


def test_a_34_layer_net_has_18_percent_of_the_multiply_adds_of_vgg_19():
  """Sec. 3.3: 3.6 of 19.6 billion; 18.7 % by count."""
  vgg = Model("vgg", "plain", 19, block="single", norm="none").net((224, 224, 3), 1000)
  assert imagenet(34).macs / vgg.macs == pytest.approx(0.187, abs=0.001)


@pytest.mark.parametrize(
  ("depth", "blocks", "width", "params"), [(19, (5, 5, 7), 32, 2.3e6), (32, (11, 11, 8), 20, 1.25e6)]
)
def test_highway_nets_have_the_parameters_of_table_6(depth, blocks, width, params):
  """Within 3 %: their widths are not in the paper, so a structure was chosen that gives these counts."""
  highway = Model(depth=depth, blocks=blocks, width=width, block="single", shortcut="gated", norm="none").net(CIFAR, 10)
  assert highway.params == pytest.approx(params, rel=0.03)
  assert len(weighted(highway)) == depth


@pytest.mark.parametrize(("block", "period", "family"), [("single", 3, "cifar"), ("dense", 2, "mlp")])
def test_depths_of_other_blocks(block, period, family):
  assert set(blocks_per_stage(family=family, block=block, depth=7 * period + 2)) == {7}
  with pytest.raises(DepthError, match=f"not {period}n"):
    blocks_per_stage(family=family, block=block, depth=7 * period + 3)


def test_maps_of_an_imagenet_net():
  """Table 1: 112, after pooling 56, then 28, 14, 7; at 64 pixels 32, 16, 8, 4, 2; with the CIFAR stem from 64 on."""

  def sides(image: int, **settings) -> list[int]:
    table = Model(family="imagenet", depth=18, **settings).net((image, image, 3), 1000).table
    return list(dict.fromkeys(layer.size[0] for layer in table if layer.kind in ("conv", "pool")))

  assert sides(224) == [112, 56, 28, 14, 7]
  assert sides(64) == [32, 16, 8, 4, 2]
  assert sides(64, stem="3x3") == [64, 32, 16, 8]
  assert sides(226) == [113, 57, 29, 15, 8]
  assert sides(226, pool_padding="behind") == [113, 56, 28, 14, 7]  # what Caffe makes of an odd map


@given(NETS)
def test_depth_counts_the_weighted_layers(some):
  assert len(weighted(some)) == some.structure.depth
  assert [layer.kind for layer in weighted(some)] == ["conv"] * (some.structure.depth - 1) + ["dense"]


@given(NETS)
def test_layers_fit_each_other(some):
  """Channels and sides run on from layer to layer; names are unique; the stages halve the map, rounding up."""
  structure = some.structure
  layers, expansion = some.table, BOTTLENECK_EXPANSION if structure.block == "bottleneck" else 1
  assert len({layer.name for layer in layers}) == len(layers)
  chain = weighted(some)
  assert chain[0].inputs == some.image_shape[2]
  assert all(before.outputs == after.inputs for before, after in itertools.pairwise(chain))
  assert chain[-1].outputs == some.classes
  height, width = some.image_shape[:2]
  if structure.stem == "7x7":
    height, width = -(-height // 4), -(-width // 4)  # rounding up twice is rounding up once
  late = structure.block == "bottleneck" and structure.bottleneck_stride == "3x3"
  for stage, (filters, blocks) in enumerate(zip(WIDTHS, structure.blocks_per_stage, strict=True), 1):
    inside = [layer for layer in chain if layer.stage == stage]
    assert {layer.size for layer in inside[late:]} == {(height, width)}
    assert inside[-1].outputs == filters * expansion
    first = [1, 1] if stage == 1 else ([1, 2] if late else [2, 1])
    assert [layer.stride for layer in inside] == first + [1] * (len(inside) - 2)
    assert len(inside) == PERIODS[structure.block] // 3 * blocks
    height, width = -(-height // 2), -(-width // 2)


@given(NETS)
def test_each_convolution_has_a_norm_of_its_outputs_or_in_preactivation_of_its_inputs(some):
  layers = {layer.name: layer for layer in some.table}
  for name, conv in layers.items():
    if "/conv" in name and conv.stage:
      norm = layers[name.replace("conv", "norm")]
      assert norm.params == 2 * (conv.inputs if some.structure.preactivation else conv.outputs)
      assert norm.macs == 0
