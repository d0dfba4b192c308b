"""The mesh: shardings, results that agree with one device to rounding, and errors."""

import contextlib
import dataclasses
import os
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from resjax import config, listing, mesh, models
from resjax.config import Config, Data, Evaluation, Execution, Model, Responses, Train
from resjax.settings import ConfigError
from resjax.train import batched_runs, program, responses, state, step
from tests import digits_training

# With the default learning rate, differences by rounding grow a thousandfold in ten steps.
NET, DIGITS = Model(depth=8), Data(name="digits", pad=1)
TRAIN = Train(batch_size=64, steps=50, learning_rate=0.02)
GOLDEN = Path(__file__).parent / "golden"


def settings(devices: int, fsdp: int) -> Config:
  return Config(model=Model(depth=14), train=TRAIN, data=DIGITS, execution=Execution(devices=devices, fsdp=fsdp))


@pytest.fixture(scope="module")
def training_set():
  return digits_training.training_set(DIGITS)


def losses(settings: Config, training_set, stops) -> tuple[list[float], state.State]:
  """Trains on the mesh of the settings; returns the mean loss of the steps before each stop, and the final state."""
  with jax.set_mesh(mesh.make(settings)):
    here = jax.sharding.get_mesh()
    images = jax.device_put(training_set, mesh.replicated(here))
    start = state.initial(NET, TRAIN, 10, (8, 8, 1), 0)
    states = batched_runs.stack([jax.device_put(start, mesh.state_shardings(here, start))])
    hyperparameters = jax.device_put(batched_runs.hyperparameters([TRAIN]), mesh.replicated(here))
    means = []
    for stop in stops:
      net = models.build(NET, 10)
      states, interval = step.train_steps(
        step.Program(net, TRAIN, DIGITS), 10, states, hyperparameters, images, jnp.int32(stop)
      )
      means.append(float(interval.loss[0]) / int(interval.steps[0]))
  return means, states


@pytest.fixture(scope="module")
def losses_on_one_device(training_set):
  return losses(settings(1, 1), training_set, range(1, 11))[0]


@pytest.mark.parametrize(("devices", "fsdp"), [(8, 1), (8, 2)])
def test_training_on_eight_devices_agrees_with_one(training_set, losses_on_one_device, devices, fsdp):
  """Ten losses agree within the contract's bound, and the shardings of the state do not change."""
  found, states = losses(settings(devices, fsdp), training_set, range(1, 11))
  assert found == pytest.approx(losses_on_one_device, rel=1e-3)
  kernel = states.params["stage1"]["block1"]["conv1"]["kernel"]
  assert (kernel.sharding.spec == PartitionSpec(None, None, None, None, mesh.FSDP)) is (fsdp > 1)
  expected = mesh.state_shardings(kernel.sharding.mesh, states)
  same = jax.tree.map(lambda leaf, wanted: leaf.sharding.is_equivalent_to(wanted, leaf.ndim), states, expected)
  assert all(jax.tree.leaves(same))


def test_shardings_are_those_of_the_golden_file():
  """The file lists shape and sharding of each leaf of the state of ResNet-14 on a mesh of 4 by 2."""
  one = state.initial.eval_shape(Model(depth=14), TRAIN, 10, (8, 8, 1), 0)
  found = mesh.state_shardings(mesh.make(settings(8, 2)), one)
  lines = [
    f"{jax.tree_util.keystr(path, simple=True, separator='/')} {list(leaf.shape)} {list(sharding.spec)}"
    for (path, leaf), sharding in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(found), strict=True)
  ]
  assert lines == (GOLDEN / "sharding_d14_fsdp2.txt").read_text().splitlines()


def test_gradients_are_all_reduced_and_only_sharded_kernels_are_gathered():

  def kinds(devices: int, fsdp: int) -> dict[str, program.Collective]:
    config = settings(devices, fsdp)
    compiled = program.lower(config, listing.net(config), mesh.make(config)).compile()
    return {each.kind: each for each in program.collectives(compiled)}

  sharded, replicated = kinds(8, 2), kinds(8, 1)
  assert "all-gather" not in replicated
  assert sharded["all-gather"].count > 0
  kernels = sum(layer.params for layer in listing.net(settings(8, 1)).table if layer.kind == "conv")
  # Of the equal blocks of a stage the program contains one, as the body of a loop.
  assert replicated["all-reduce"].bytes > 4 * kernels / 2


def test_capturing_responses_needs_no_collectives(training_set):
  """Many independent all-reduces can deadlock simulated devices; see `models.response_statistics`."""

  def capture(devices: int) -> list[dict]:
    chosen = Responses(images=256, batch_size=128)
    net, table = models.build(NET, 10), NET.net((8, 8, 1), 10).table
    with jax.set_mesh(mesh.make(settings(devices, 1))):
      start = state.initial(NET, TRAIN, 10, (8, 8, 1), 0)
      arguments = {"params": start.params, "batch_stats": start.batch_stats}, training_set.images[:256]
      arguments = *jax.device_put(arguments, mesh.replicated(jax.sharding.get_mesh())), training_set.statistics
      assert not program.collectives(responses.capture.lower(net, chosen, *arguments).compile())
      return responses.lines(chosen, 0, table, responses.capture(net, chosen, *arguments))

  for one, eight in zip(capture(1), capture(8), strict=True):
    assert eight == {**one, "std": pytest.approx(one["std"], rel=1e-5), "mean": pytest.approx(one["mean"], abs=1e-6)}


@pytest.mark.parametrize(
  ("execution", "batch_size", "says"),
  [
    ({"devices": 9}, 128, "execution.devices = 9: must be at most 8, the number of devices (cpu)"),
    (
      {"devices": 8},
      100,
      "train.batch_size = 100: cannot be split over execution.devices = 8; nearest: 96 and 104",
    ),
    (
      {"devices": 8, "fsdp": 3},
      128,
      "execution.fsdp = 3: must divide the number of devices, 8, and the batch sizes, of which 128 is the greatest "
      "common divisor",
    ),
    (
      {"fsdp": 16},
      128,
      "execution.fsdp = 16: must divide the number of devices, 8, and the batch sizes, of which 128 is the greatest "
      "common divisor",
    ),
  ],
)
def test_sizes_that_cannot_be_split_are_named(execution, batch_size, says):
  with pytest.raises(ConfigError) as caught:
    mesh.make(config.freeze({"execution": execution, "train": {"batch_size": batch_size}}))
  assert str(caught.value) == says


def test_by_default_there_are_as_many_devices_as_divide_the_batch_sizes():
  made = mesh.make(Config(train=Train(batch_size=12), evaluation=Evaluation(batch_size=36), responses=Responses()))
  assert dict(made.shape) == {"data": 4, "fsdp": 1}
  split = dataclasses.replace(Config(), execution=Execution(fsdp=4))
  assert dict(mesh.make(split).shape) == {"data": 2, "fsdp": 4}


def test_a_mesh_has_the_requested_shape():
  assert np.shape(mesh.make(settings(8, 4)).devices) == (2, 4)


@pytest.mark.parametrize(("enabled", "cached"), [("", False), ("1", True)])
def test_with_the_gpu_plugin_a_given_cache_is_used_only_on_request(tmp_path, enabled, cached):
  """The launchers set JAX_COMPILATION_CACHE_DIR; on GPUs, programs from the cache fail (`mesh.start_backend`)."""
  (tmp_path / "jax_cuda13_plugin").mkdir()
  inherited = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_COMPILATION_CACHE"}
  environment = inherited | {
    "PYTHONPATH": f"{tmp_path}:{GOLDEN.parents[1]}",
    "JAX_PLATFORMS": "cpu",
    "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    **({"JAX_ENABLE_COMPILATION_CACHE": enabled} if enabled else {}),
  }
  program = "import jax; from resjax import mesh; mesh.start_backend(None); jax.jit(lambda x: x + 1)(1)"
  subprocess.run([sys.executable, "-c", program], env=environment, check=True)
  assert any(tmp_path.glob("cache/*")) is cached


@pytest.mark.parametrize(
  ("platform", "precision", "here"),
  [
    ("tpu", None, ["factors rounded to bfloat16, sums in float32"]),
    ("tpu", "highest", []),
    ("gpu", "high", ["TF32: factors rounded to 10 bits"]),
    ("gpu", "float32", []),
    ("cpu", None, []),
  ],
)
def test_rounding_of_float32_on_accelerators_is_a_deviation(platform, precision, here):
  """There is no accelerator here, so the mesh is one in name only; the function reads nothing but its platform."""
  device = types.SimpleNamespace(platform=platform)
  devices = types.SimpleNamespace(devices=np.array([device], object))
  with jax.default_matmul_precision(precision) if precision else contextlib.nullcontext():
    assert [each["here"] for each in mesh.deviations(Config(), devices)] == here
    assert mesh.deviations(Config(model=Model(precision="bfloat16")), devices) == []
