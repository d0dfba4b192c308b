"""Layer tables of networks for ImageNet, VGG, Highway and dense networks: published counts and sides."""

import pytest

from resjax import paper
from resjax.config import Model
from resjax.depth import DepthError, Net
from tests.depth_networks import CIFAR, blocks_per_stage, imagenet, weighted


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
def test_imagenet_networks_are_those_of_the_paper(depth, params, v1, v15):
  """Parameters agree exactly, and multiply-adds to 3 %, because the paper rounds them."""
  first, later = imagenet(depth), imagenet(depth, bottleneck_stride="3x3")
  assert first.params == later.params == paper.IMAGENET[depth].params == params
  assert (round(first.macs / 1e9, 3), round(later.macs / 1e9, 3)) == (v1, v15)
  assert first.macs == pytest.approx(paper.IMAGENET[depth].macs, rel=0.03)
  assert first.structure.blocks_per_stage == paper.IMAGENET[depth].blocks


def test_plain_and_option_a_networks_have_no_projections():
  assert imagenet(18, kind="plain").params == imagenet(18, shortcut="A").params == 11_515_688


def test_a_bottleneck_block_has_a_seventeenth_of_the_weights_of_a_basic_block():
  """A basic block has two 3x3 layers of 256 channels, the bottleneck of Fig. 5 has 1x1, 3x3, 1x1 of 64, 64, 256."""

  def weights(some: Net) -> int:
    inside = [layer for layer in some.table if (layer.stage, layer.block) == (1, 2)]
    return sum(layer.params for layer in inside if layer.kind == "conv")

  wide = Model(family="imagenet", depth=34, width=256).net((224, 224, 3), 1000)
  assert (weights(wide), weights(imagenet(50))) == (1_179_648, 69_632)


@pytest.mark.parametrize(("depth", "params", "macs"), [(16, 138_357_544, 15.3e9), (19, 143_667_240, 19.6e9)])
def test_vgg_networks_have_the_published_counts(depth, params, macs):
  """Parameters agree exactly, and the multiply-adds of the paper to 3 %."""
  vgg = Model("vgg", "plain", depth, block="single", norm="none").net((224, 224, 3), 1000)
  assert vgg.params == params
  assert vgg.macs == pytest.approx(macs, rel=0.03)
  assert len(weighted(vgg)) == depth


def test_34_layers_have_18_percent_of_the_multiply_adds_of_vgg_19():
  """Sec. 3.3 gives 3.6 of 19.6 billion; the exact share is 18.7 %."""
  vgg = Model("vgg", "plain", 19, block="single", norm="none").net((224, 224, 3), 1000)
  assert imagenet(34).macs / vgg.macs == pytest.approx(0.187, abs=0.001)


@pytest.mark.parametrize(
  ("depth", "blocks", "width", "params"), [(19, (5, 5, 7), 32, 2.3e6), (32, (11, 11, 8), 20, 1.25e6)]
)
def test_highway_networks_have_the_parameters_of_table_6(depth, blocks, width, params):
  """The paper does not give their widths, so widths were chosen with which the counts agree to 3 %."""
  highway = Model(depth=depth, blocks=blocks, width=width, block="single", shortcut="gated", norm="none").net(CIFAR, 10)
  assert highway.params == pytest.approx(params, rel=0.03)
  assert len(weighted(highway)) == depth


@pytest.mark.parametrize(
  ("settings", "side", "stride"),
  [
    ({"family": "imagenet", "depth": 50, "block": "bottleneck", "shortcut": "C"}, 225, 32),  # last feature map: 8x8
    ({"family": "imagenet", "depth": 18, "shortcut": "B"}, 224, 32),
    ({"family": "imagenet", "depth": 50, "block": "bottleneck", "bottleneck_stride": "3x3", "shortcut": "B"}, 200, 32),
    ({"depth": 20, "shortcut": "gate"}, 33, 4),
    ({"depth": 20, "shortcut": "C", "stem": "7x7"}, 30, 16),
    ({"family": "vgg", "block": "single", "depth": 16, "kind": "plain"}, 224, 32),
  ],
)
def test_the_total_stride_does_not_depend_on_the_size_of_the_image(settings, side, stride):
  assert Model(**settings).net((side, side, 3), 10).stride == stride


@pytest.mark.parametrize(("block", "period", "family"), [("single", 3, "cifar"), ("dense", 2, "mlp")])
def test_valid_depths_of_single_and_dense_blocks(block, period, family):
  assert set(blocks_per_stage(family=family, block=block, depth=7 * period + 2)) == {7}
  with pytest.raises(DepthError, match=f"not {period}n"):
    blocks_per_stage(family=family, block=block, depth=7 * period + 3)


def test_sides_of_feature_maps_are_those_of_table_1():
  """They are also right at other image sizes and with the CIFAR stem."""

  def sides(image: int, **settings) -> list[int]:
    table = Model(family="imagenet", depth=18, **settings).net((image, image, 3), 1000).table
    return list(dict.fromkeys(layer.size[0] for layer in table if layer.kind in ("conv", "pool")))

  assert sides(224) == [112, 56, 28, 14, 7]
  assert sides(64) == [32, 16, 8, 4, 2]
  assert sides(64, stem="3x3") == [64, 32, 16, 8]
  assert sides(226) == [113, 57, 29, 15, 8]
  assert sides(226, pool_padding="behind") == [113, 56, 28, 14, 7]  # as Caffe pads an odd side
