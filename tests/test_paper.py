"""The numbers of the paper, against the architectures and against each other."""

import itertools

import pytest

from resjax import paper


def basic_block_params(depth: int) -> int:
  """Returns the parameters of the CIFAR network of 6n+2 layers with option A (Sec. 4.2)."""
  n = (depth - 2) // 6
  widths = [3, 16] + [16] * 2 * n + [32] * 2 * n + [64] * 2 * n
  convolutions = sum(9 * i * o + 2 * o for i, o in itertools.pairwise(widths))
  return convolutions + 64 * 10 + 10


@pytest.mark.parametrize("depth", paper.CIFAR10_RESIDUAL)
def test_numbers_of_parameters_are_those_of_the_architectures(depth):
  assert paper.CIFAR10_RESIDUAL[depth].params == basic_block_params(depth)


def test_only_depth_110_has_several_runs():
  repeated = {depth: net for depth, net in paper.CIFAR10_RESIDUAL.items() if net.runs > 1}
  assert list(repeated) == [110]
  assert repeated[110].best == pytest.approx(0.0643)
  assert all(net.spread is None and net.best is None for depth, net in paper.CIFAR10_RESIDUAL.items() if depth != 110)


def test_errors_are_fractions():
  singles = [net.error for net in paper.CIFAR10_RESIDUAL.values()]
  singles += [error for error, _ in paper.CIFAR10_OTHER_METHODS.values()]
  singles += [value for band in paper.CIFAR10_PLAIN_REPRODUCTIONS.values() for value in band]
  singles += [*paper.IMAGENET_DEGRADATION.values(), paper.IMAGENET_ENSEMBLE_TOP5]
  for table in (paper.IMAGENET_TEN_CROP, paper.IMAGENET_SINGLE_MODEL):
    singles += [value for pair in table.values() for value in pair if value is not None]
  assert all(0 < value < 1 for value in singles)
  assert all(low <= high for low, high in paper.CIFAR10_PLAIN_REPRODUCTIONS.values())


def test_the_conclusions_of_the_paper_follow_from_its_tables():
  table2 = paper.IMAGENET_DEGRADATION
  assert table2["plain", 34] > table2["plain", 18]  # degradation
  assert table2["residual", 34] < table2["residual", 18]  # no degradation with shortcuts
  errors = {depth: net.error for depth, net in paper.CIFAR10_RESIDUAL.items()}
  assert min(errors, key=errors.get) == 110
  for table in (paper.IMAGENET_TEN_CROP, paper.IMAGENET_SINGLE_MODEL):
    printed = [pair for pair in table.values() if None not in pair]
    assert table["ResNet-152"] == tuple(min(column) for column in zip(*printed, strict=True))
  assert paper.IMAGENET[152].macs < 15.3e9  # less than those of VGG-16


@pytest.mark.parametrize("depth", paper.IMAGENET)
def test_imagenet_depth_is_the_number_of_weighted_layers(depth):
  net = paper.IMAGENET[depth]
  assert depth == sum(net.blocks) * (3 if net.bottleneck else 2) + 2
