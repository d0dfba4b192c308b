"""The command `resjax.plan`: names of slices, bounds by hand, search for settings that fit, and the table."""

import dataclasses
import importlib.util
import json

import pytest

from benchmarks import roofline as measured_roofline
from resjax.config import Config, Execution, Gradients, Model, Train
from resjax.planning import chips, measured, roofline, search
from resjax.records import RunWriter
from resjax.settings import ConfigError
from tests.fake_compiler import FakeCompiler
from tests.in_process_commands import run_command


@pytest.mark.parametrize(
  ("name", "count", "kind"),
  [("v5e:2x4", 8, "v5 lite"), ("v6e:4x4", 16, "v6 lite"), ("v5p:8x8x8", 512, "v5p"), ("gpu:h100x8", 8, "h100")],
)
def test_slices_are_parsed_by_name(name, count, kind):
  found = chips.parse(name)
  assert (found.name, found.count, found.chip.kind) == (name, count, kind)
  assert found.compiles == (not name.startswith("gpu"))


@pytest.mark.parametrize(
  ("name", "says"),
  [
    ("v5e", "slices of v5e are 2x2, 2x4,"),
    ("v5p:3x3x3", "slices of v5p are 2x2x1,"),
    ("v9:2x2", "unknown chip 'v9'; available: v5e, v6e, v5p, gpu"),
    ("gpu:h100x9", "must be gpu:NAMExN with NAME one of a100, h100, h200, N 1 to 8"),
  ],
)
def test_errors_of_unknown_slices_name_the_known_ones(name, says):
  with pytest.raises(ConfigError) as raised:
    chips.parse(name)
  assert says in str(raised.value)


def test_larger_slices_are_in_order_of_size():
  assert [each.name for each in chips.larger(chips.parse("v5p:4x4x8"))] == ["v5p:4x8x8", "v5p:8x8x8"]


def net_of(config: Config):
  """Returns the network for CIFAR-10."""
  return config.model.net((32, 32, 3), 10)


def test_the_bound_of_a_step_by_hand():
  """A step of ResNet-20 has three forward passes of 128 images, with two operations per multiply-add."""
  config = Config(model=Model(depth=20, precision="bfloat16"))
  net = net_of(config)
  bound = roofline.step(config, net, chips.parse("v5e:2x2"), 1)
  assert bound.compute == pytest.approx(2 * 3 * net.macs * 128 / 197e12)
  assert bound.exchange == 0
  assert bound.seconds == max(bound.compute, bound.memory)
  again = dataclasses.replace(config, execution=Execution(remat="block"))
  assert roofline.step(again, net, chips.parse("v5e:2x2"), 1).compute == pytest.approx(bound.compute * 4 / 3)
  split = roofline.step(config, net, chips.parse("v5e:2x2"), 4)
  assert split.compute == pytest.approx(bound.compute / 4)
  assert split.exchange == pytest.approx(2 * 4 * net.params * 3 / 4 / 200e9)


def test_bytes_of_a_step_are_those_of_the_benchmark():
  for precision in ("float32", "bfloat16"):
    moved = roofline.moved_bytes(net_of(Config(model=Model(depth=20))), precision)
    assert moved * 128 == measured_roofline.step_bytes(20, 128, precision)


@pytest.mark.parametrize(
  ("config", "where", "says"),
  [
    (
      Config(train=Train(batch_size=100)),
      "v5e:2x4",
      "train.batch_size = 100: cannot be split over 8 chips of v5e:2x4; nearest: 96 and 104",
    ),
    (Config(), "v5p:8x8x8", "train.batch_size = 128: cannot be split over 512 chips of v5p:8x8x8; nearest: 512"),
    (
      Config(execution=Execution(devices=9)),
      "v5e:2x4",
      "execution.devices = 9: must be at most 8, the chips of v5e:2x4",
    ),
    (
      Config(gradients=Gradients(every=10, batch_size=4)),
      "v5e:2x4",
      "gradients.batch_size = 4: cannot be split over 8 chips of v5e:2x4; nearest: 8",
    ),
    (Config(execution=Execution(fsdp=3)), "gpu:h100x4", "execution.fsdp = 3: must divide 4, the number of chips"),
  ],
)
def test_a_batch_that_does_not_divide_names_the_nearest(config, where, says):
  with pytest.raises(ConfigError) as raised:
    search.check(config, chips.parse(where))
  assert str(raised.value) == says


@pytest.mark.parametrize(
  ("gigabytes", "setting"),
  [
    (lambda remat, where, batch: 3, ""),
    (lambda remat, where, batch: 40 if remat == "none" else 3, "execution.remat=block"),
    (lambda remat, where, batch: 3 if remat == "group" else 40, "execution.remat=group"),
    (lambda remat, where, batch: 3 if where == "v5e:4x8" else 40, "execution.remat=group on v5e:4x8"),
    (lambda remat, where, batch: 3 if batch <= 32 else 40, "execution.remat=group train.batch_size=32"),
  ],
)
def test_the_first_setting_that_fits_is_proposed(monkeypatch, gigabytes, setting):
  compiler = FakeCompiler(gigabytes)
  monkeypatch.setattr(search, "_compiler", lambda: compiler)
  found = search.best(Config(), chips.parse("v5e:2x4"), "full")
  assert (found.fits, found.setting) == (True, setting)
  assert compiler.asked[0] == ("none", "v5e:2x4", 128)


def test_all_settings_are_tried_for_a_run_that_never_fits(monkeypatch):
  compiler = FakeCompiler(lambda *_: 100)
  monkeypatch.setattr(search, "_compiler", lambda: compiler)
  assert not search.best(Config(), chips.parse("v5e:2x4"), "full").fits
  assert [where for _, where, _ in compiler.asked][:6] == ["v5e:2x4"] * 3 + ["v5e:4x4", "v5e:4x8", "v5e:8x8"]
  assert [batch for _, _, batch in compiler.asked][-4:] == [64, 32, 16, 8]


@pytest.mark.parametrize(("gigabytes", "efforts"), [(3, ["quick"]), (40, ["quick", "full"] * 3)])
def test_a_step_that_does_not_fit_is_compiled_again_with_full_effort(monkeypatch, gigabytes, efforts):
  compiler = FakeCompiler(lambda *_: gigabytes)
  monkeypatch.setattr(search, "_compiler", lambda: compiler)
  config = dataclasses.replace(Config(), execution=Execution(devices=8, remat="group"))
  search.best(dataclasses.replace(config, train=Train(batch_size=32)), chips.parse("v5e:2x4"), "quick")
  assert compiler.efforts == efforts


def plan(monkeypatch, capsys, *arguments: str, code: int = 0) -> dict:
  """Returns the plan that the command prints as JSON."""
  assert run_command(monkeypatch, "resjax.plan", [*arguments, "--format=json"]) == code
  return json.loads(capsys.readouterr().out)


def test_a_step_is_compiled_once_for_all_seeds_and_totals_are_sums(monkeypatch, capsys):
  compiler = FakeCompiler(lambda *_: 1)
  monkeypatch.setattr(search, "_compiler", lambda: compiler)
  found = plan(monkeypatch, capsys, "--config=cifar_depth_sweep", "--only=depth=20,32 kind=plain", "--price=2")
  assert len(found["runs"]) == found["sum"]["runs"] == 10
  assert found["sum"]["steps compiled"] == len(compiler.asked) == 2
  row = found["runs"][0]
  assert (row["id"], row["chips"], row["batch"], row["collectives"]) == ("plain-d20-s0", 8, 128, "3 all-reduce")
  assert row["hours"] == pytest.approx(row["ms a step"] * 64_000 / 3_600_000)
  for key in ("hours", "chip hours", "cost"):
    assert found["sum"][key] == pytest.approx(sum(each[key] for each in found["runs"]))
  assert row["cost"] == pytest.approx(2 * row["chip hours"])


def test_a_step_is_compiled_once_for_all_learning_rates(monkeypatch, capsys):
  compiler = FakeCompiler(lambda *_: 1)
  monkeypatch.setattr(search, "_compiler", lambda: compiler)
  found = plan(monkeypatch, capsys, "--config=learning_rate_depth", "--only=depth=8")
  assert len(found["runs"]) > found["sum"]["steps compiled"] == len(compiler.asked)


def test_the_batch_size_can_be_given_per_chip(monkeypatch, capsys):
  monkeypatch.setattr(search, "_compiler", lambda: FakeCompiler(lambda *_: 1))
  arguments = ("--config=cifar_depth_sweep", "--only=depth=20 seed=0", "--topology=v5p:8x8x8", "--batch_per_chip=4")
  arguments += ("--config.gradients.batch_size=512",)
  assert {row["batch"] for row in plan(monkeypatch, capsys, *arguments)["runs"]} == {2048}


def test_a_run_that_does_not_fit_is_exit_code_1(monkeypatch, capsys):
  monkeypatch.setattr(search, "_compiler", lambda: FakeCompiler(lambda *_: 100))
  found = plan(monkeypatch, capsys, "--config=cifar_depth_sweep", "--only=id=plain-d20-s0", code=1)
  assert (found["runs"][0]["fits"], found["sum"]["do not fit"]) == (False, 1)


def test_a_measured_throughput_replaces_the_estimate(monkeypatch, capsys, tmp_path):
  net = net_of(Config())
  with RunWriter(tmp_path / "residual-A-d20-s0") as writer:
    devices = {"platform": "gpu", "kind": "NVIDIA H100 80GB HBM3", "count": 2, "processes": 1}
    writer.update(id="residual-A-d20-s0", params=net.params, macs=net.macs, devices=devices)
    writer.write_config(Config().to_dict())
    lines = [
      {"step": step, "split": "train", "images_per_second": rate} for step, rate in ((1, 10), (2, 1280), (3, 1300))
    ]
    writer.append("metrics", lines)
  assert list(measured.read(str(tmp_path)).values()) == [1280]
  arguments = ("--config=cifar_depth_sweep", "--only=depth=20 kind=residual seed=0", f"--measured={tmp_path}")
  (row,) = plan(monkeypatch, capsys, *arguments, "--topology=gpu:h100x2")["runs"]
  assert (row["ms a step"], row["by"]) == (pytest.approx(100), "measured")
  (row,) = plan(monkeypatch, capsys, *arguments, "--topology=gpu:h100x4")["runs"]
  assert row["by"] != "measured"


def test_the_extra_for_the_tpu_compiler_is_named(monkeypatch):
  if importlib.util.find_spec("libtpu"):
    pytest.skip("the extra tpu is installed")
  with pytest.raises(ConfigError, match="a plan for TPUs needs libtpu: install the extra tpu"):
    run_command(monkeypatch, "resjax.plan", ["--config=quickstart", "--only=depth=8"])


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="needs the extra tpu")
@pytest.mark.parametrize(
  "runs", ["--config=quickstart --only=depth=8,kind=plain", "--config=imagenet_depth --only=depth=18"]
)
def test_the_tpu_compiler_compiles_steps_of_both_input_strategies(runs):
  """The command runs in a process of its own, because it sets the platform of JAX."""
  import subprocess
  import sys

  config, only = runs.split()
  line = [sys.executable, "-m", "resjax.plan", config, only.replace(",", " "), "--format=json"]
  shape = ["--config.train.batch_size=16", "--config.evaluation.batch_size=16", "--config.responses.batch_size=16"]
  done = subprocess.run([*line, *shape, "--topology=v5e:2x2"], capture_output=True, text=True, check=True)
  (row,) = json.loads(done.stdout)["runs"]
  assert row["fits"]
  assert row["GiB"] > 0
  assert "all-reduce" in row["collectives"]
