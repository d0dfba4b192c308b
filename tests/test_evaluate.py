"""The commands `resjax.evaluate` and `resjax.convert`."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from resjax import convert, evaluate, records, report
from resjax.config import Data, Model
from resjax.train import run_files
from tests import random_networks

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
WEIGHTS, CIFAR = "RESJAX_AKAMASTER", "RESJAX_CIFAR10"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Returns a folder with a CIFAR network, its state dict, test images, and networks and data that do not match."""
  root = tmp_path_factory.mktemp("folder")
  random_networks.write_run(
    root / "net", Model(depth=8, option_a_zeros="both"), Data(), 32, 10
  )  # as in akamaster's networks
  assert convert.main(["--to", "torch", str(root / "net"), "--out", str(root / "net.safetensors")]) == 0
  rng = np.random.default_rng(0)
  for name, shape, classes in (("ten", (32, 32, 3), 10), ("two", (32, 32, 3), 2), ("grey", (32, 32), 10)):
    x, y = rng.integers(0, 256, (1100, *shape), np.uint8), np.arange(1100) % classes
    np.savez(root / f"{name}.npz", x_train=x[:10], y_train=y[:10], x_test=x, y_test=y)
  random_networks.write_run(root / "grey", Model(depth=8), Data(), 32, 10, channels=1)
  random_networks.write_run(root / "seven", Model(depth=8), Data(), 32, 7)
  random_networks.write_run(root / "preactivated", Model(depth=8, preactivation=True), Data(), 32, 10)
  (root / "net" / "checkpoints" / "1.orbax-checkpoint-tmp").mkdir()  # left by a save that was killed
  return root


def evaluate_as_json(capsys, *arguments):
  """Runs a successful evaluation and returns the object that it prints as JSON."""
  assert evaluate.main([*map(str, arguments), "--format=json"]) == 0
  out, err = capsys.readouterr()
  assert err == ""
  return json.loads(out)


def test_the_output_has_the_keys_of_the_contract(folder, capsys):
  row = evaluate_as_json(capsys, "--checkpoint", folder / "net", "--data", folder / "ten.npz")
  assert list(row) == ["images", "wrong", "error", "top5_error", "skipped", "checkpoints", "protocol"]
  assert (row["images"], row["skipped"], row["protocol"]) == (1100, 0, "single")
  assert row["error"] == row["wrong"] / 1100 and row["top5_error"] < row["error"]
  assert row["checkpoints"] == [str(folder / "net")]
  assert evaluate.main(["--checkpoint", str(folder / "net"), "--data", str(folder / "ten.npz")]) == 0
  assert f"wrong: {row['wrong']}\n" in capsys.readouterr().out


def test_an_ensemble_of_equal_members_has_their_results(folder, capsys):
  one = evaluate_as_json(capsys, "--checkpoint", folder / "net", "--data", folder / "ten.npz")
  same = evaluate_as_json(capsys, "--checkpoint", folder / "net", folder / "net", "--data", folder / "ten.npz")
  assert [one[key] for key in ("images", "wrong", "top5_error")] == [
    same[key] for key in ("images", "wrong", "top5_error")
  ]


def test_a_converted_network_has_a_record_and_responses(folder, tmp_path, capsys):
  out = tmp_path / "residual-A-d8"
  arguments = ["--from", "akamaster", str(folder / "net.safetensors"), "--out", str(out)]
  assert convert.main([*arguments, "--data", str(folder / "ten.npz")]) == 0
  assert "layer1.0.conv1 -> stage1/block1/conv1\n" in capsys.readouterr().out
  run = records.read_run(out)
  assert run.run["status"] == records.DONE and run.run["params"] == 75_290
  assert run.run["params_digest"] == records.read_run(folder / "net").run["params_digest"]
  assert run.run["result"]["test_images"] == 1100 and run.run["result"]["test_error"] == run.metrics[-1]["error"]
  assert [row["layer"] for row in run.responses] == list(range(1, 8))
  assert report.main([str(tmp_path)]) == 0
  assert (tmp_path / "figures" / "fig7-sorted.svg").exists()
  page = (tmp_path / "report.html").read_text()
  assert "trained elsewhere" in page and ">Training<" not in page


def test_few_images_suffice_to_test_a_converted_network(folder, tmp_path, capsys):
  """There are fewer test images than `responses.images`, and a number that the number of devices does not divide."""
  x, y = np.random.default_rng(0).integers(0, 256, (21, 32, 32, 3), np.uint8), np.arange(21) % 10
  np.savez(tmp_path / "few.npz", x_train=x[:10], y_train=y[:10], x_test=x, y_test=y)
  arguments = ["--from", "akamaster", str(folder / "net.safetensors"), "--out", str(tmp_path / "net")]
  assert convert.main([*arguments, "--data", str(tmp_path / "few.npz")]) == 0
  run = records.read_run(tmp_path / "net")
  assert run.run["result"]["test_images"] == 21
  assert [(row["layer"], row["images"]) for row in run.responses] == [(layer, 21) for layer in range(1, 8)]
  assert run.run["events"] == [{"step": 0, "name": "converted", "detail": "akamaster: net.safetensors"}]


def test_a_converted_network_with_outputs_that_are_not_finite_fails_and_is_not_written(folder, tmp_path, capsys):
  arrays = {name: np.array(array) for name, array in load_file(folder / "net.safetensors").items()}
  arrays["linear.weight"][:] = np.finfo(np.float32).max
  save_file(arrays, tmp_path / "large.safetensors")
  arguments = ["--from", "akamaster", str(tmp_path / "large.safetensors"), "--out", str(tmp_path / "net")]
  assert convert.main([*arguments, "--data", str(folder / "ten.npz")]) == 1
  assert capsys.readouterr().err == "resjax.convert: the probabilities of image 1 are not finite\n"
  assert not (tmp_path / "net").exists()


def test_the_error_of_a_trained_network_is_that_of_its_record(tmp_path, capsys):
  settings = ["--config.train.steps=30", "--config.model.depth=8", "--config.train.batch_size=32"]
  line = [sys.executable, "-m", "resjax.main", "--config=quickstart", "--only=kind=residual", *settings]
  subprocess.run([*line, f"--workdir={tmp_path}"], cwd=Path(__file__).parents[1], check=True, capture_output=True)
  directories = sorted(path.parent for path in tmp_path.glob("*/*/run.json"))
  row = evaluate_as_json(capsys, "--checkpoint", directories[0], "--data", "digits")
  result = records.read_run(directories[0]).run["result"]
  assert (row["images"], row["error"]) == (result["test_images"], result["test_error"])


@needs_torch
def test_files_written_for_pytorch_can_be_loaded_by_it_and_converted_back(folder, tmp_path):
  import torch
  from safetensors.numpy import load

  file, again = tmp_path / "net.pth", tmp_path / "again"
  assert convert.main(["--to", "torch", str(folder / "net"), "--out", str(file)]) == 0
  loaded, arrays = torch.load(file, weights_only=True), load((folder / "net.safetensors").read_bytes())
  assert loaded.keys() == arrays.keys()
  assert all(np.array_equal(loaded[name].numpy(), array) for name, array in arrays.items())
  assert convert.main(["--from", "akamaster", str(file), "--out", str(again)]) == 0
  assert records.read_run(again).run["params_digest"] == records.read_run(folder / "net").run["params_digest"]


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["--checkpoint", "absent", "--data", "ten.npz"], "absent: is not a run directory"),
    (["--checkpoint", "net", "--data", "absent"], "absent: no such file or folder"),
    (["--checkpoint", "net", "--data", "two.npz"], "two.npz has 2 classes, must be 10"),
    (["--checkpoint", "net", "--data", "grey.npz"], "grey.npz: images have 1 channels, must have 3"),
    (["--checkpoint", "net", "--data", "net.safetensors"], "net.safetensors: neither an .npz file, nor CIFAR"),
    (
      ["--checkpoint", "net", "seven", "--data", "ten.npz"],
      "not an ensemble: number of classes of seven is 7, must be 10",
    ),
    (["--checkpoint", "net"], "the following arguments are required: --data"),
    (["--checkpoint", "net", "--data", "ten.npz", "--protocol", "12crop"], "invalid choice: '12crop'"),
  ],
)
def test_an_invalid_command_is_a_one_line_error(arguments, said, folder, monkeypatch, capsys):
  assert_refused(evaluate.main, arguments, said, folder, monkeypatch, capsys)


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (["--from", "akamaster", "absent.th", "--out", "new"], "absent.th: no such file"),
    (
      ["--from", "torchvision", "net.safetensors", "--out", "new"],
      r"net.safetensors: has no fc.weight; its names are ",
    ),
    (["--from", "caffe", "net.safetensors", "--out", "new"], "net.safetensors: no"),
    pytest.param(["--from", "akamaster", "ten.npz", "--out", "new"], "ten.npz: ", marks=needs_torch),
    (["--from", "akamaster", "net.safetensors", "--out", "net"], "net: exists; choose another --out"),
    (["--from", "akamaster", "net.safetensors", "--out", "new", "--data", "absent"], "absent: no such file or folder"),
    (
      ["--from", "akamaster", "net.safetensors", "--out", "new", "--data", "two.npz"],
      "two.npz has 2 classes, must be 10",
    ),
    (
      ["--from", "akamaster", "net.safetensors", "--out", "new", "--data", "grey.npz"],
      "grey.npz: images have 1 channels",
    ),
    (["--from", "akamaster", "net.safetensors", "--out", "new", "--mean", "m"], "--mean needs --from caffe"),
    (["--to", "torch", "net", "--out", "new.pth", "--data", "ten.npz"], "--data needs --from"),
    (["--to", "torch", "net", "--out", "net.safetensors"], "net.safetensors: exists"),
    (["--to", "torch", "preactivated", "--out", "new.pth"], "model.preactivation = True"),
    (["net.safetensors", "--out", "new"], "one of the arguments --from --to is required"),
  ],
)
def test_an_invalid_conversion_is_a_one_line_error_and_writes_nothing(arguments, said, folder, monkeypatch, capsys):
  assert_refused(convert.main, arguments, said, folder, monkeypatch, capsys)


def assert_refused(main, arguments, said, folder, monkeypatch, capsys):
  """Asserts that a command prints a one-line error, exits with 2 and changes no file.

  Args:
    main: Function `main` of the command.
    arguments: Arguments of the command line.
    said: Regular expression that the error must match.
    folder: Working directory of the command.
    monkeypatch: Fixture of the test.
    capsys: Fixture of the test.
  """
  monkeypatch.chdir(folder)
  before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
  try:
    code = main(arguments)
  except SystemExit as stop:  # argparse exits by itself
    code = stop.code
  out, err = capsys.readouterr()
  assert (code, out) == (2, ""), err
  assert len(err.splitlines()) == 1
  assert err.startswith("resjax.")
  assert re.search(said, err), err
  assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_damaged_run_directories_are_errors(folder, tmp_path, capsys):
  net = random_networks.write_run(tmp_path / "net", Model(depth=8), Data(), 32, 10)
  arguments = ["--checkpoint", str(net), "--data", str(folder / "ten.npz")]

  def error_line():
    assert evaluate.main(arguments) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line

  with records.RunWriter(net) as writer:
    digest = writer.run["params_digest"]
    writer.update(params_digest="0" * 64)
    assert "is damaged: its parameters do not have the params_digest of run.json" in error_line()
    writer.update(params_digest=digest)
  assert evaluate.main(arguments) == 0
  capsys.readouterr()
  taken = (net / run_files.INPUT).read_bytes()
  (net / run_files.INPUT).write_bytes(taken[:100])
  assert "input.npz: is damaged" in error_line()
  (net / run_files.INPUT).unlink()
  assert "input.npz: is missing; it contains the statistics with which images are normalized" in error_line()
  (net / run_files.INPUT).write_bytes(taken)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
def test_a_damaged_checkpoint_is_a_one_line_error(kept, folder, tmp_path):
  """The command runs in a process of its own, because Orbax may print errors when the process exits."""
  shutil.copytree(folder / "net", tmp_path / "net")
  for path in (tmp_path / "net" / "checkpoints").rglob("d/*"):
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
  line = [sys.executable, "-m", "resjax.evaluate", "--checkpoint", tmp_path / "net", "--data", folder / "ten.npz"]
  ended = subprocess.run(line, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)
  assert (ended.returncode, ended.stdout) == (2, "")
  assert re.fullmatch(r"resjax.evaluate: .*/net/checkpoints: step 0 is damaged: cannot be read .*\n", ended.stderr), (
    ended.stderr
  )


def test_a_network_with_nan_parameters_fails(folder, tmp_path, capsys):
  net = random_networks.write_run(tmp_path / "net", Model(depth=8), Data(), 32, 10, nan=True)
  assert evaluate.main(["--checkpoint", str(net), "--data", str(folder / "ten.npz")]) == 1
  assert capsys.readouterr().err == "resjax.evaluate: the probabilities of image 1 are not finite\n"


@needs_torch
@pytest.mark.skipif({WEIGHTS, CIFAR} - set(os.environ), reason=f"{WEIGHTS} and {CIFAR} do not name folders")
@pytest.mark.parametrize(("depth", "wrong"), [(20, 827), (32, 737)])
def test_published_networks_have_their_published_errors(depth, wrong, tmp_path, capsys):
  """Rounding of float32 may change the prediction of up to three images."""
  file = Path(os.environ[WEIGHTS]) / f"akamaster-resnet{depth}.th"
  assert convert.main(["--from", "akamaster", str(file), "--out", str(tmp_path / "net")]) == 0
  capsys.readouterr()
  assert evaluate.main(["--checkpoint", str(tmp_path / "net"), "--data", os.environ[CIFAR], "--format=json"]) == 0
  row = json.loads(capsys.readouterr().out)
  assert row["images"] == 10_000
  assert abs(row["wrong"] - wrong) <= 3
