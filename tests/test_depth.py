import itertools

import pytest
from hypothesis import given, strategies as st

from resjax.depth import BOTTLENECK_EXPANSION, LAYERS_A_BLOCK, STAGE_WIDTHS, DepthError, Layer, Net, blocks_a_stage

CIFAR = (32, 32, 3)
KINDS, BLOCKS, SHORTCUTS = ("residual", "plain"), ("basic", "bottleneck"), ("A", "B", "C")
PERIODS = {"basic": 6, "bottleneck": 9}
NETS = st.builds(
  lambda n, block, **rest: Net(depth=PERIODS[block] * n + 2, block=block, **rest),
  n=st.integers(1, 12),
  kind=st.sampled_from(KINDS),
  block=st.sampled_from(BLOCKS),
  shortcut=st.sampled_from(SHORTCUTS),
  preactivation=st.booleans(),
  image_shape=st.sampled_from([CIFAR, (28, 28, 1), (9, 7, 3), (1, 1, 1)]),
  classes=st.integers(1, 100),
)


def net(depth: int, kind: str = "residual", shortcut: str = "A", block: str = "basic", preactivation: bool = False):
  """A CIFAR-10 net."""
  return Net(kind, depth, block, shortcut, preactivation, CIFAR, 10)


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
  assert net(depth, "plain", shortcut).table == net(depth).table


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
  assert blocks_a_stage(PERIODS[block] * n + 2, block) == n


@given(st.integers(-50, 3000), st.sampled_from(BLOCKS))
def test_an_illegal_depth_names_its_legal_neighbours(depth, block):
  period = PERIODS[block]
  legal = range(period + 2, 4000, period)
  if depth in legal:
    return
  below, above = [d for d in legal if d < depth], [d for d in legal if d > depth]
  nearest = " and ".join(str(d) for d in [*below[-1:], above[0]])
  with pytest.raises(DepthError, match=rf"^not {period}n\+2, .*{block} blocks.*; nearest: {nearest}$"):
    blocks_a_stage(depth, block)


@pytest.mark.parametrize("depth", [-1, 2, 7, 21, 1200])
def test_a_net_of_an_illegal_depth_has_no_table(depth):
  with pytest.raises(DepthError):
    _ = net(depth).params


@given(NETS)
def test_depth_counts_the_weighted_layers(some):
  assert len(weighted(some)) == some.depth
  assert [layer.kind for layer in weighted(some)] == ["conv"] * (some.depth - 1) + ["dense"]


@given(NETS)
def test_layers_fit_each_other(some):
  """Channels and sides run on from layer to layer; names are unique; the stages halve the map, rounding up."""
  layers, expansion = some.table, BOTTLENECK_EXPANSION if some.block == "bottleneck" else 1
  assert len({layer.name for layer in layers}) == len(layers)
  chain = weighted(some)
  assert chain[0].inputs == some.image_shape[2]
  assert all(before.outputs == after.inputs for before, after in itertools.pairwise(chain))
  assert chain[-1].outputs == some.classes
  height, width = some.image_shape[:2]
  for stage, filters in enumerate(STAGE_WIDTHS, 1):
    inside = [layer for layer in chain if layer.stage == stage]
    assert {layer.side for layer in inside} == {(height, width)}
    assert inside[-1].outputs == filters * expansion
    assert [layer.stride for layer in inside] == [1 if stage == 1 else 2] + [1] * (len(inside) - 1)
    assert len(inside) == LAYERS_A_BLOCK[some.block] * blocks_a_stage(some.depth, some.block)
    height, width = -(-height // 2), -(-width // 2)


@given(NETS)
def test_each_convolution_has_a_norm_of_its_outputs_or_in_preactivation_of_its_inputs(some):
  layers = {layer.name: layer for layer in some.table}
  for name, conv in layers.items():
    if "/conv" in name and conv.stage:
      norm = layers[name.replace("conv", "norm")]
      assert norm.params == 2 * (conv.inputs if some.preactivation else conv.outputs)
      assert norm.macs == 0
