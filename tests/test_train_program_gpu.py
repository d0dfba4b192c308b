"""The training program lowered for a GPU, which takes none: nothing in it is made for a CPU."""

import re

import pytest

from resjax import listing, mesh
from resjax.config import Config, Execution, Model
from resjax.train import program

# Dimension orders of the convolution as lax has it, and of the two that differentiation makes of it.
FORWARD = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
INPUT_GRADIENT = "[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f]"
WEIGHT_GRADIENT = "[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]"


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def lowered(request):
  model = Model(depth=20, precision=request.param)
  # What a GPU with memory enough chooses by itself; here the choice would be that for a CPU.
  config = Config(model=model, execution=Execution(devices=1, unroll=1000, remat="none"))
  traced = program.trace(config, listing.net(config), mesh.make(config))
  return request.param, traced.lower(lowering_platforms=("cuda",)).as_text()


def test_nothing_keeps_operations_from_being_fused(lowered):
  """On a CPU batch norm has barriers, two a layer; on a GPU they kept sums and the ReLU's derivative apart."""
  assert "optimization_barrier" not in lowered[1]


def test_the_convolutions_are_the_plain_ones_and_their_derivatives(lowered):
  """Equal blocks are one function of the text, which is called; XLA sees all 56."""
  orders = set(re.findall(r"dim_numbers = (\S+ .*?\]->\[.*?\])", lowered[1]))
  assert orders == {FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT}


def test_convolutions_are_in_the_precision_asked_for(lowered):
  precision, text = lowered
  kinds = re.findall(r"stablehlo\.convolution\(.*-> tensor<[\dx]*x(\w+)>", text)
  assert len(kinds) == lowered[1].count("stablehlo.convolution(") > 0
  assert set(kinds) == {"bf16" if precision == "bfloat16" else "f32"}


def test_no_activation_is_transposed_and_nothing_is_in_64_bits(lowered):
  """The one transpose is of the dense layer's kernel."""
  transposed = re.findall(r"stablehlo\.transpose.*-> tensor<([\dx]+)x\w+>", lowered[1])
  assert all(shape.count("x") < 3 for shape in transposed), transposed
  assert "f64" not in lowered[1]
