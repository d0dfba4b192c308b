"""The command `resjax.summary`: output, memory, and multiply-adds against the count of the compiler."""

import json
import subprocess
import sys

import pytest

from resjax import listing, mesh, paper, summary
from resjax.config import Config, Execution, Model
from resjax.depth import memory
from resjax.train import program

IMAGENET = ("--config=imagenet_depth",)


def run(*arguments: str) -> subprocess.CompletedProcess:
  """Runs the command."""
  return subprocess.run([sys.executable, "-m", "resjax.summary", *arguments], capture_output=True, text=True)


def test_json_has_the_networks_of_table_1_with_the_numbers_of_the_paper():
  done = run(*IMAGENET, "--format=json")
  assert (done.returncode, done.stderr) == (0, "")
  nets = {net["depth"]: net for net in json.loads(done.stdout)}
  assert list(nets) == list(paper.IMAGENET)
  for depth, net in nets.items():
    assert net["params"] == net["paper params"] == sum(layer["params"] for layer in net["layers"])
    assert net["macs"] == sum(layer["macs"] for layer in net["layers"])
    assert net["macs"] == pytest.approx(net["paper macs"], rel=0.03)
    assert sum(layer["weighted"] for layer in net["layers"]) == depth
    assert net["compiler"] is None


def test_layers_are_printed_for_a_single_network():
  many, one = run(*IMAGENET), run(*IMAGENET, "--only", "depth=18")
  assert len(many.stdout.splitlines()) == 6
  assert one.stdout.splitlines()[1].split()[:2] == ["stem/conv", "conv"]
  assert "11,689,512" in one.stdout


def test_with_a_mesh_memory_and_collectives_are_given():
  done = run("--config=quickstart", "--only=depth=8 kind=residual", "--mesh=data=2,fsdp=2", "--format=json")
  (net,) = json.loads(done.stdout)
  assert net["mesh"]["all-gather"] > 0
  assert net["mesh"]["MiB temporary"] > 0
  assert 0 < net["mesh"]["MiB all-reduce"] < 10 * 4 * net["params"] / 2**20


@pytest.mark.parametrize(
  ("arguments", "says"),
  [
    ((), "--config is missing"),
    (("--config=quickstart", "--only=depth=7"), "--only depth=7: matches no run"),
    (("--config=quickstart", "--config.model.depth=21"), "model.depth = 21: not 6n+2"),
    (("--config=quickstart", "--format=xml"), "flag --format=xml"),
    (("--config=quickstart", "--mesh=8"), "--mesh = '8': must be data=N or data=N,fsdp=M"),
    (
      ("--config=quickstart", "--mesh=data=3"),
      "train.batch_size = 64: cannot be split over execution.devices = 3",
    ),
  ],
)
def test_invalid_arguments_are_a_one_line_error(arguments, says):
  done = run(*arguments)
  assert done.returncode == 2
  assert says in done.stderr
  assert len(done.stderr.splitlines()) == 1


def net_of(model: Model, side: int = 32, classes: int = 10):
  """Returns the configuration and the network of an architecture."""
  config = Config(model=model)
  return config, model.net((side, side, 3), classes)


@pytest.mark.parametrize(
  "model",
  [
    Model(depth=20),
    Model(depth=20, block="bottleneck", shortcut="C"),
    Model("imagenet", depth=18, shortcut="B"),
    Model("vgg", "plain", 16, block="single", norm="none"),
    Model(depth=32, blocks=(11, 11, 8), width=20, block="single", shortcut="gated", norm="none"),
  ],
  ids=["cifar", "bottleneck C", "imagenet", "vgg", "highway"],
)
def test_the_compiler_counts_the_same_multiply_adds(model):
  """The compiler also counts norms, activations and sums, which are less than 5 %."""
  config, net = net_of(model, 64)
  inside = sum(map(summary.macs_inside, net.table))
  assert inside < net.macs
  assert 1 <= summary.compiler_macs(config, net) / inside < 1.05


@pytest.mark.parametrize(
  "model",
  [Model(depth=20), Model(depth=20, kind="plain", norm="none"), Model("imagenet", depth=18, shortcut="B", stem="3x3")],
  ids=["cifar", "without norms", "resnet18"],
)
def test_the_compiler_counts_three_forward_passes_in_a_training_step(model):
  """They agree to 3 %: norms and optimizer add operations, and the images need no gradient."""
  config = Config(model=model, execution=Execution(devices=1, unroll=1000, remat="none"))
  net = listing.net(config)
  lowered = program.trace(config, net, mesh.make(config)).lower(lowering_platforms=("tpu",))
  counted = lowered.cost_analysis()["flops"] / 2
  assert net.training_macs(10) == 30 * net.macs
  assert counted / config.train.batch_size == pytest.approx(3 * sum(map(summary.macs_inside, net.table)), rel=0.03)


def test_multiply_adds_without_padding_by_hand():
  """Along each axis, two of the 3 * 8 products of a 3x3 layer are with padding, and one of the 3 * 4 at stride 2."""
  same, halving = (
    layer for layer in net_of(Model(depth=8), 8)[1].table if layer.name in ("stem/conv", "stage2/block1/conv1")
  )
  assert summary.macs_inside(same) == 3 * 16 * (3 * 8 - 2) ** 2
  assert summary.macs_inside(halving) == 16 * 32 * (3 * 4 - 1) ** 2


def test_memory_of_activations_by_hand():
  def kept(depth, **others):
    config, net = net_of(Model(depth=depth, **others))
    return memory.activation_bytes(net, config.model.precision)

  # A further block per stage has two layers, each with a convolution and a norm.
  units = sum(width * side**2 for width, side in ((16, 32), (32, 16), (64, 8)))
  assert kept(14)[0] - kept(8)[0] == 4 * 4 * units
  assert kept(14)[1] - kept(8)[1] == 4 * units
  assert kept(20, precision="bfloat16")[0] * 2 == kept(20)[0]
