"""Memory in plans: estimates and limits by hand, the choice of rematerialization, and runs in one program."""

import json
import types

import numpy as np
import pytest

from resjax import listing
from resjax.config import Config, Data, Execution, Model, Responses
from resjax.depth import memory
from resjax.planning import chips, search
from resjax.train import execution
from tests.fake_compiler import FakeCompiler
from tests.in_process_commands import run_command


def net_of(config: Config):
  """Returns the network for CIFAR-10."""
  return config.model.net((32, 32, 3), 10)


def test_estimated_memory_decreases_with_rematerialization_and_devices():
  net, kept = net_of(Config(model=Model(depth=110))), memory.training_bytes
  whole = kept(net, "float32", "none", 128)
  assert kept(net, "float32", "none", 16) < whole / 4
  assert kept(net, "float32", "block", 128) < whole / 3
  assert memory.choose_remat(net, "float32", 128, 1, whole) == "none"
  assert memory.choose_remat(net, "float32", 128, 1, whole - 1) == "block"
  assert memory.choose_remat(net, "float32", 128, 1, whole / 10) == "group"
  assert memory.choose_remat(net, "float32", 128, 2, 2 * whole) == "none"
  assert memory.choose_remat(net, "float32", 128, 2, 2 * whole - 1) == "block"


CIFAR_BYTES = {"train": 50_000 * 32 * 32 * 3, "test": 10_000 * 32 * 32 * 3}


def test_memory_limits_by_hand():
  """JAX allocates 75 % of a GPU's memory, of which an estimate may fill 70 %."""
  assert chips.parse("gpu:h100x8").memory_limit == pytest.approx(0.7 * 0.75 * 80e9)
  assert chips.parse("v5e:2x2").memory_limit == 15.25 * 2**30


def test_images_held_by_every_device():
  held = Config(data=Data(validation_images=5000))
  assert listing.image_bytes(held) == (45_000 * 3072, 15_000 * 3072)
  assert listing.image_bytes(Config(data=Data(name="digits"))) == (1437 * 64, 360 * 64)
  decoded = Config(data=Data(name="imagenet2012", image_size=32, resize=(32, 32)))
  detector = Config(data=Data(name="voc"), responses=Responses(final=False))
  assert listing.image_bytes(decoded) == listing.image_bytes(detector) == (0, 0)


@pytest.mark.parametrize("runs", [1, 4])
def test_the_estimate_for_a_gpu_counts_runs_and_images(runs):
  config = Config(model=Model(depth=20), execution=Execution(remat="none", runs_per_program=runs))
  net = net_of(config)
  found = search.best(config, chips.parse("gpu:h100x4"), "quick")
  of_one = memory.activation_bytes(net, "float32")[0] * 128 // 4 + 12 * net.params
  assert (found.setting, found.memory) == ("", runs * of_one + sum(CIFAR_BYTES.values()))


@pytest.mark.parametrize("runs", [1, 8, 32])
def test_a_plan_rematerializes_as_the_run_does(runs):
  """The run sees the memory that JAX reports on that GPU. Between the depths the choice changes."""
  where, chosen = chips.parse("gpu:h100x1"), []
  device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: {"bytes_limit": 0.75 * 80e9})
  devices = types.SimpleNamespace(devices=np.array([device]), size=1)
  for depth in (20, 110, 602, 1202, 4802):
    config = Config(model=Model(depth=depth), execution=Execution(runs_per_program=runs))
    by_run = execution.scan_options(config, net_of(config), devices).remat
    fitting = [each for each in search.alternatives(config, where) if search._try(*each, "quick").fits]
    assert (fitting[0][1].execution.remat if fitting else "group") == by_run
    chosen.append(by_run)
  assert len(set(chosen)) > 1


def test_test_images_are_added_to_the_memory_of_a_compiled_program(monkeypatch):
  monkeypatch.setattr(search, "_compiler", lambda: FakeCompiler(lambda *_: 3))
  assert search.best(Config(), chips.parse("v5e:2x4"), "full").memory == 3 * 2**30 + CIFAR_BYTES["test"]


def test_fewer_runs_in_one_program_are_tried_before_larger_slices():
  config = Config(execution=Execution(remat="group", runs_per_program=5))
  found = [setting for setting, *_ in search.alternatives(config, chips.parse("v5e:4x8"))]
  changed = "execution.remat=group execution.runs_per_program="
  assert found == [
    "",
    f"{changed}2",
    f"{changed}1",
    f"{changed}1 on v5e:8x8",
    f"{changed}1 on v5e:8x16",
    f"{changed}1 train.batch_size=64",
    f"{changed}1 train.batch_size=32",
  ]


def test_no_more_runs_share_a_program_than_there_are(monkeypatch, capsys):
  arguments = ("--config=cifar_depth_sweep", "--topology=gpu:h100x1", "--config.execution.runs_per_program=64")
  rows = {}
  for only in ("kind=plain depth=20", "id=plain-d20-s0"):
    assert run_command(monkeypatch, "resjax.plan", [*arguments, f"--only={only}", "--format=json"]) == 0
    found = json.loads(capsys.readouterr().out)["runs"]
    rows[len(found)] = found[0]["GiB"] - sum(CIFAR_BYTES.values()) / 2**30
  assert sorted(rows) == [1, 5]
  assert rows[5] == pytest.approx(5 * rows[1])
