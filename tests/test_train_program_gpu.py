"""The training program lowered for a GPU, which needs no GPU: it contains nothing specific to CPUs."""

import re

import pytest

from resjax import listing, mesh
from resjax.config import Config, Execution, Model
from resjax.train import program

# Axis orders of the convolution and of its two derivatives.
FORWARD = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
INPUT_GRADIENT = "[b, 0, 1, f]x[0, 1, o, i]->[b, 0, 1, f]"
WEIGHT_GRADIENT = "[f, 0, 1, b]x[i, 0, 1, o]->[0, 1, b, f]"


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def lowered(request):
  model = Model(depth=20, precision=request.param)
  # The options that are chosen on a GPU with enough memory; the default here would be that of a CPU.
  config = Config(model=model, execution=Execution(devices=1, unroll=1000, remat="none"))
  traced = program.trace(config, listing.net(config), mesh.make(config))
  return request.param, traced.lower(lowering_platforms=("cuda",)).as_text()


def test_there_are_no_optimization_barriers(lowered):
  """Batch norm has two barriers per layer on CPUs; on a GPU they would prevent fusions."""
  assert "optimization_barrier" not in lowered[1]


def test_convolutions_are_those_of_lax_and_their_derivatives(lowered):
  """In the text, equal blocks are calls of one function."""
  orders = set(re.findall(r"dim_numbers = (\S+ .*?\]->\[.*?\])", lowered[1]))
  assert orders == {FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT}


def test_convolutions_have_the_configured_precision(lowered):
  precision, text = lowered
  kinds = re.findall(r"stablehlo\.convolution\(.*-> tensor<[\dx]*x(\w+)>", text)
  assert len(kinds) == lowered[1].count("stablehlo.convolution(") > 0
  assert set(kinds) == {"bf16" if precision == "bfloat16" else "f32"}


def test_no_activation_is_transposed_and_nothing_has_64_bits(lowered):
  """Only the kernel of the dense layer is transposed."""
  transposed = re.findall(r"stablehlo\.transpose.*-> tensor<([\dx]+)x\w+>", lowered[1])
  assert all(shape.count("x") < 3 for shape in transposed), transposed
  assert "f64" not in lowered[1]
